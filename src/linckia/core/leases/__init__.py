"""Who gets a worker, and when: the pure lease manager of one node."""
