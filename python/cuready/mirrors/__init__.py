"""Where packages come from: the catalogue of mirrors, their configuration, and downloads that survive them."""
