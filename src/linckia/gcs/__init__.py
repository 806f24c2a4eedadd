"""The cluster's metadata service: nodes, jobs, actors, names, key-value pairs, functions, subscriptions.

The one authority for cluster-wide facts, running in the head. It never sees a task's payload, and no task waits for
it on its way to a worker.
"""
