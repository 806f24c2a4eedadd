"""Submitted jobs: the life of a job through its attempts, and what follows each of them. Pure."""
