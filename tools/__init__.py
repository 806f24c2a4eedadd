"""Commands for those who work on the tree: `python -m tools.diagrams`, `python -m tools.rows`. Not installed."""
