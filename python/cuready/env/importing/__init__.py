"""From other people's files and install lines to a recipe that is right today, and back."""
