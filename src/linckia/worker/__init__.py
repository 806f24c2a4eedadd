"""The runtime inside drivers and workers: submit, own, execute, fetch, cancel.

`api` calls it for the user. It owns the results of what it submitted; it refuses to decide where work runs, which is
the raylet's answer to a lease request.
"""
