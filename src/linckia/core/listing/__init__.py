"""Decisions of the state API: which rows pass a filter, what several sources say together, what a summary counts."""
