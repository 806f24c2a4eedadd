"""Decisions: life cycles, leases, reference counts, placement and retries as plain functions and tables.

Each noun has its own package. A core takes events, the time and a random source as arguments, and returns changes,
commands to carry out and reasons. It refuses to do I/O, so that it runs in microseconds under test and by the
thousand in the simulator.
"""
