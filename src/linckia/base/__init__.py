"""The lowest floor: ids, resource vectors, labels, errors, named limits, backoff and `invariant()`.

Everything above imports from here; nothing here imports the rest of Linckia, and only the lightest parts of the
standard library, because `import linckia` pays for it. Pure: no I/O, clock, chance, logging or threads.
"""
