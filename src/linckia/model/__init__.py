"""Frozen nouns that rooms hand to each other: addresses, task and actor specs, results, node and job records.

A value that always travels with two others belongs here as one struct. Pure, and without behaviour beyond
validation: decisions are in `core`, the messages that carry these nouns are in `protocol`.
"""
