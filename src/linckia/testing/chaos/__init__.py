"""`linckia chaos`: a cluster of real processes, a workload that checks itself, faults by seed, and a report.

``schedule``, ``history``, ``checking``, ``availability``, ``results``, ``reporting`` and ``questions`` are pure;
``driver`` (a process of its own) and ``deeds`` make the load; ``ground``, ``injecting`` and ``runner`` start processes
and hurt exactly those; ``judging`` asks the questions of docs/consistency.md.
Memory pressure and full or slow disks are not among its faults (tests/fault has them), nor are cut networks.
"""
