"""From findings to a repair: the plan, how it is run, and what is needed to go back."""
