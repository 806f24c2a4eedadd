"""Submitted jobs: who supervises a driver (`supervisor.py`), and what users ask for (`client.py`). Built on the public
API; what follows what is decided in `core/jobs`. Users import it as `linckia.job_submission`.
"""
