"""Where packages come from: mirrors, their configuration, and downloads that survive them."""
