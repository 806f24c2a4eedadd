"""`linckia demo`: the job's totals survive the death of a worker, and a demo that fails says so."""

from __future__ import annotations

import os
import re

import pytest

from linckia.cli import demo, demo_job
from linckia.cli.demo_job import Corpus, Measures
from tests.e2e.world import World

pytestmark = pytest.mark.e2e


@pytest.mark.fault
@pytest.mark.row("S1")
def test_demo_loses_a_worker_and_nothing_else(world: World) -> None:
    said = world.linckia("demo", "--files", "300", "--cpus", "2")
    killed = re.search(r"worker process (\d+) killed with SIGKILL", said)
    assert killed
    assert not os.path.exists(f"/proc/{killed[1]}")
    assert re.search(r"ok +totals equal the plain loop's", said)
    assert re.search(r"1 worker killed, [1-9]\d* tasks? retried", said)
    assert "ok     nothing left behind" in said


def test_demo_fails_when_the_totals_differ(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def one_line_more(corpus: Corpus, advance: demo.Advance) -> Measures:
        total = demo_job.measure_batch(corpus, range(len(corpus)))
        total.lines += 1
        return total

    monkeypatch.setattr(demo, "plain_loop", one_line_more)
    assert demo.run(files=100, cpus=2) is False
    assert "FAILED totals DIFFER" in capsys.readouterr().out


def test_measures_of_a_known_file() -> None:
    source = b"import os, os.path\nfrom sys import argv\nclass A:\n    def f(self):\n        return 1\n"
    found = demo_job.measure("a.py", source)
    assert (found.lines, found.statements, found.classes, found.functions) == (5, 5, 1, 1)
    assert (found.deepest, found.longest) == ((3, "a.py"), (2, "f in a.py"))
    assert found.imports == {"os": 1, "sys": 1}
    assert demo_job.measure("b.py", b"def (:").not_python == 1


def test_batches_hold_each_file_once() -> None:
    corpus = demo_job.read_corpus(100)
    batches = corpus.batches()
    assert [index for batch in batches for index in batch] == list(range(100))
    assert len(batches) > 10
    assert sum(len(corpus.source(index)) for index in range(100)) == corpus.block.nbytes
