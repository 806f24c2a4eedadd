"""Many machines in one thread on virtual time: the real head, raylets, links and policies, and what must hold of them.

``python -m linckia.testing.fleet`` (``make sim NODES=2000 SCENARIO=churn``) runs one and prints its figures.
"""
