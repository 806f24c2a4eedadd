"""Parts that may fail and nothing else with them: whether each is up, since when not, when it is tried again. Pure."""
