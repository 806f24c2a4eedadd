"""Waiting: take results as they come, and keep only so many tasks in flight."""

import hashlib

import linckia
from linckia.util import as_completed

IN_FLIGHT = 8


@linckia.remote
def search(first, count, zeros):
    """The first number in a range whose SHA-256 begins with that many zeros, or None."""
    for number in range(first, first + count):
        if hashlib.sha256(str(number).encode()).hexdigest().startswith("0" * zeros):
            return number
    return None


with linckia.init():
    # `wait` gives what is ready. One new task per finished one: memory stays small however long this runs.
    todo = iter(range(0, 10_000_000, 5_000))
    running = [search.remote(next(todo), 5_000, 4) for _ in range(IN_FLIGHT)]
    found = None
    while found is None:
        ready, running = linckia.wait(running)
        found = linckia.get(ready[0])
        running.append(search.remote(next(todo), 5_000, 4))
    for ref in running:
        linckia.cancel(ref)
    print("found:", found, hashlib.sha256(str(found).encode()).hexdigest()[:12])

    # `as_completed` gives the values of tasks that are all known from the start, the quickest first.
    hits = list(as_completed([search.remote(first, 1000, 2) for first in range(0, 8000, 1000)]))
    print("one hit per range:", sorted(hits))
    assert len(hits) == 8 and None not in hits
