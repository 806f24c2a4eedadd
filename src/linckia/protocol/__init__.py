"""The typed messages of every service, their framing and the version of the whole.

Services and clients share only this vocabulary. Pure: encoding and decoding of bytes already in memory; sockets are
in `rpc`, and what to do about a message is decided in `core`.
"""
