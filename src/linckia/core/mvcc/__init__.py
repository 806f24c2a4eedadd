"""The metadata store's decisions: revisions, reads of the past, transactions, leases, compaction, watches; all pure.

``space.py`` keeps the versions of keys, ``state.py`` decides requests on them, ``leases.py`` knows what expires when,
``merging.py`` joins transactions for a backend that takes one at a time. The shells are in ``linckia.store``.
"""
