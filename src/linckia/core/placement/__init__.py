"""Placement groups: which node gets which bundle, all or nothing, and the life of a group. Pure."""
