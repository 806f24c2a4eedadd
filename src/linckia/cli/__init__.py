"""The `linckia` command: parses arguments, calls one function elsewhere, prints what it returns.

Anything a command does must be reachable without it.
"""
