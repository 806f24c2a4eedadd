"""`linckia chaos`: a cluster of real processes, a workload that checks itself, faults by seed, and a report.

``schedule``, ``history``, ``checking``, ``availability``, ``stale``, ``results``, ``reporting`` and ``questions`` are
pure; ``driver`` (a process of its own) and ``deeds`` make the load; ``ground`` starts a cluster (on hosts, small disks
and little memory where faults need them: ``places``) and ``attached`` finds one that runs; ``injecting`` hurts exactly
those processes, as ``process_faults``, ``network_faults``, ``disk_faults`` and ``stale_faults`` say; ``runner`` joins
them; ``judging`` asks the questions of docs/consistency.md; ``oom`` is a program of its own.
"""
