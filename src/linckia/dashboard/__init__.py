"""The dashboard: read-only views of a cluster over HTTP, and a page that shows them. A process of its own; nothing else
of Linckia imports more of it than `settings`. For users: docs/dashboard.md.
"""
