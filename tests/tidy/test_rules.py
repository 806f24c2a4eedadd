"""Each rule catches what it is for, and leaves its neighbours alone."""

from __future__ import annotations

import pytest

from tests.tidy.rules import Finding, Source, check
from tests.tidy.tree import Allowance
from tools.rows import marks_in

DOC = '"""What it does."""\n'


def broken_rules(path: str, text: str) -> list[str]:
    return [finding.rule for finding in check(Source(path, text))]


@pytest.mark.parametrize(
    ("path", "text", "rule"),
    [
        ("src/linckia/gcs/a.py", DOC + "x = 1\n" * 500, "file-length"),
        ("tests/unit/test_a.py", DOC + "x = 1\n" * 800, "file-length"),
        ("src/linckia/gcs/a.py", DOC + "def f():\n" + "    x = 1\n" * 60, "function-length"),
        ("src/linckia/gcs/a.py", DOC + "async def f():\n" + "    x = 1\n" * 60, "function-length"),
        ("src/linckia/gcs/a.py", "x = 1\n", "module-docstring"),
        ("src/linckia/gcs/__init__.py", "x = 1\n", "module-docstring"),
        ("src/linckia/gcs/utils.py", DOC, "module-name"),
        ("src/linckia/gcs/helpers/__init__.py", DOC, "module-name"),
        ("src/linckia/gcs/queue.py", DOC, "module-name"),
        ("src/linckia/core/a.py", DOC + "async def f(): pass\n", "pure-rooms"),
        ("src/linckia/core/a.py", DOC + "print(1)\n", "pure-rooms"),
        ("src/linckia/base/a.py", DOC + "text = open('x')\n", "pure-rooms"),
        ("src/linckia/model/a.py", DOC + "x = hash('x')\n", "pure-rooms"),
        ("src/linckia/protocol/a.py", DOC + "x = id(1)\n", "pure-rooms"),
        ("src/linckia/core/a.py", DOC + "def f():\n    global x\n    x = 1\n", "pure-rooms"),
        ("src/linckia/core/a.py", DOC + "for x in {1, 2}: pass\n", "set-order"),
        ("src/linckia/core/a.py", DOC + "y = [x for x in set(z)]\n", "set-order"),
        ("src/linckia/core/a.py", DOC + "y = list({x for x in z})\n", "set-order"),
        ("tests/unit/test_a.py", DOC + "time.sleep(1)\n", "test-sleep"),  # sleep: an example, not a call
        ("tests/unit/test_a.py", DOC + "asyncio.sleep(0.1)\n", "test-sleep"),  # sleep: likewise
    ],
)
def test_a_rule_catches_its_example(path: str, text: str, rule: str) -> None:
    assert broken_rules(path, text) == [rule]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("src/linckia/gcs/a.py", DOC + "x = 1\n" * 499),
        ("tests/unit/test_a.py", DOC + "x = 1\n" * 799),
        ("src/linckia/gcs/a.py", DOC + "def f():\n" + "    x = 1\n" * 59),
        ("src/linckia/gcs/__init__.py", ""),
        ("src/linckia/gcs/jobs.py", DOC),
        ("tests/unit/queue.py", DOC),
        ("src/linckia/gcs/a.py", DOC + "async def f(): print(hash('x'))\n"),
        ("src/linckia/core/a.py", DOC + "class A:\n    def __hash__(self): return hash(self.key)\n"),
        ("src/linckia/core/a.py", DOC + "for x in sorted({1, 2}): pass\n"),
        ("tests/unit/test_a.py", DOC + "time.sleep(1)  # sleep: the clock under test is the real one\n"),
        ("tests/unit/test_a.py", DOC + "# sleep: the kernel gives no event\ntime.sleep(1)\n"),
        ("tests/unit/test_a.py", DOC + "asyncio.sleep(0)\n"),
    ],
)
def test_a_rule_leaves_its_neighbour_alone(path: str, text: str) -> None:
    assert broken_rules(path, text) == []


def test_an_allowance_covers_its_file_rule_and_size_only() -> None:
    allowance = Allowance("a.py", "file-length", "reason", max=600)
    assert allowance.covers(Finding("a.py", 1, "file-length", "", 600))
    assert not allowance.covers(Finding("a.py", 1, "file-length", "", 601))
    assert not allowance.covers(Finding("b.py", 1, "file-length", "", 600))
    assert not allowance.covers(Finding("a.py", 1, "set-order", ""))


def test_row_marks_are_read_from_decorators_and_lists() -> None:
    text = "pytestmark = [pytest.mark.row('4.1')]\n@pytest.mark.row('4.2', '4.3')\ndef test_x(): other.row('9')\n"
    assert marks_in(text) == [("4.1", 1), ("4.2", 2), ("4.3", 2)]


def test_a_computed_row_mark_claims_the_rows_of_its_file() -> None:
    text = "TABLE = {'3.27': 'x', '14.2': '3.x'}\nnote = '3.27 too'\nmark = pytest.mark.row(*TABLE)\n"
    assert marks_in(text) == [("3.27", 1), ("14.2", 1)]
    assert marks_in(text.replace("mark.row", "mark.other")) == []
