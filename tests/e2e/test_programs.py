"""What the documents show works: the README's program, the quickstart's, every example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.world import ROOT, World

pytestmark = pytest.mark.e2e

EXAMPLES = sorted((ROOT / "examples").glob("*/*.py"))
FENCED_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def programs_in(document: Path) -> list[str]:
    return FENCED_PYTHON.findall(document.read_text())


def test_readme_program(world: World) -> None:
    (program,) = programs_in(ROOT / "README.md")
    printed = world.python(world.script(program), cwd=ROOT)
    assert re.search(r"is \d+ lines\n$", printed)


def test_quickstart_programs_run_one_after_the_other(world: World) -> None:
    blocks = programs_in(ROOT / "docs" / "quickstart.md")
    assert len(blocks) >= 5
    printed = world.python(world.script("\n".join(blocks)), cwd=ROOT)
    assert printed.rstrip().endswith("end of the quickstart")


def test_each_means_of_fault_tolerance_does_what_its_page_says(world: World) -> None:
    blocks = programs_in(ROOT / "docs" / "fault-tolerance.md")
    assert len(blocks) >= 9
    printed = world.python(world.script("\n".join(blocks)), cwd=ROOT)
    assert "the second attempt answered" in printed
    assert "calls that were lost: 1\nbalance: 50\n" in printed
    assert "after the collector: what it has found\n" in printed
    assert re.search(r"epoch 1\n--- .*\n--- attempt 2 on node .* ---\nepoch 2\nepoch 3\n", printed)
    assert "[(1, 'system'), (2, 'succeeded')]" in printed
    assert "an estimate, because of WorkerCrashedError (system)" in printed
    assert printed.rstrip().endswith("end of the page")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_example(world: World, path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    if "import ray\n" in path.read_text():
        printed = world.linckia("run", "--as-ray", str(path))
    else:
        printed = world.python(str(path))
    assert printed
