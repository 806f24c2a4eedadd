"""Connections that carry `protocol` messages: handshake, reactor, idempotent requests, deadlines.

Used by every process. It knows bytes, peers and request ids; it refuses to know what a message means.
"""
