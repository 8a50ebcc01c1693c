"""From a recipe to an environment that has proved itself."""
