"""Bytes of objects between nodes: connections, the serving and the receiving side.

Used by raylet/pull_manager.py, which knows what to move; what and when is decided by core/objects.
"""
