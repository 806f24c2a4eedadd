"""A real cluster whose requests and answers are lost, late and doubled gives the same results and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import linckia
linckia.init(num_cpus=2)

@linckia.remote
def double(x):
    return 2 * x

@linckia.remote
def parent(n):
    return sum(linckia.get([double.remote(i) for i in range(n)]))

@linckia.remote
class Counter:
    def __init__(self):
        self.n = 0
    def more(self):
        self.n += 1
        return self.n

for number in range(3):
    assert linckia.get([double.remote(i) for i in range(200)], timeout=30) == [2 * i for i in range(200)]
    assert linckia.get([parent.options(num_cpus=0.5).remote(5) for _ in range(6)], timeout=30) == [20] * 6
    counter = Counter.options(name=f"c{number}").remote()
    assert linckia.get([counter.more.remote() for _ in range(20)], timeout=30) == list(range(1, 21))
print("all right")
linckia.shutdown()
"""


@pytest.mark.fault
@pytest.mark.e2e
@pytest.mark.row("S21", "7.23", "7.24")
@pytest.mark.parametrize(
    "plan",
    [
        '{"seed": 3, "duplicate": 0.5, "delay": 0.3, "delay_max_s": 0.02}',
        '{"seed": 4, "duplicate": 0.5, "delay": 0.3, "delay_max_s": 0.02}',
        '{"seed": 5, "drop": 0.25}',
        '{"seed": 6, "drop": 0.25, "duplicate": 0.25, "delay": 0.25, "delay_max_s": 0.02}',
    ],
)
def test_requests_that_are_lost_late_and_doubled(plan: str) -> None:
    """Seed 3 found that a LeaseGranted which came twice gave back a worker in use, and hung."""
    environment = {**os.environ, "LINCKIA_TESTING_FAULTS": plan, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=90)
    assert ended.stdout.endswith("all right\n"), ended.stderr[-2000:]
