"""The metadata store: what the head must not forget, behind one interface with three backends. docs/store.md.

``interface.py`` is what users of the store see, ``opening.py`` makes one from an address, ``blocking.py`` is for tests
and tools. The decisions are in ``core/mvcc``. Imports no service; nothing here is on the path of a task.
"""
