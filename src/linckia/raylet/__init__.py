"""Each node's local scheduler: resources, leases, the worker pool and the host of the object store.

It grants workers to whoever submits tasks and takes them back. It refuses to look inside a task: owners push those
straight to the workers.
"""
