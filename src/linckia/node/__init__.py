"""The composition root: builds each process from its parts, starts it, supervises it and ends it in order.

The only room that sees several services at once, and where a seam gets its real implementation. It contains no
policy of its own.
"""
