"""Nested tasks: a task may start tasks and wait for them; while it waits, its CPU is lent to others (no deadlock)."""

import heapq
import random

import linckia

SMALL = 20_000


@linckia.remote
def merge_sort(numbers):
    if len(numbers) <= SMALL:
        return sorted(numbers)
    middle = len(numbers) // 2
    halves = [merge_sort.remote(numbers[:middle]), merge_sort.remote(numbers[middle:])]
    return list(heapq.merge(*linckia.get(halves)))


rng = random.Random(7)
numbers = [rng.random() for _ in range(100_000)]

with linckia.init(num_cpus=2):  # 15 tasks, 7 of them waiting for others, on two CPUs
    result = linckia.get(merge_sort.remote(numbers))

assert result == sorted(numbers)
print(f"{len(result):,} numbers sorted; smallest {result[0]:.6f}, largest {result[-1]:.6f}")
