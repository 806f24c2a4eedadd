"""What the system says about itself: metrics, structured events, worker output, traces.

Below `rpc` and every service, because all of them report here. It never decides, and losing a record never fails
the work that wrote it.
"""
