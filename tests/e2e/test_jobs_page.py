"""docs/jobs.md from its first line to its last: its commands in a shell, its programs as files and on their own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.world import ROOT, World

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.row("8.11", "8.12", "8.35")]
PAGE = ROOT / "docs" / "jobs.md"
FENCED = re.compile(r"^```(console|python)(?: (\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)
IN_A_SHELL = """
import os, subprocess, sys
os.environ["PATH"] = os.path.dirname(sys.executable) + ":" + os.environ["PATH"]
done = subprocess.run(["sh", "-c", sys.argv[1]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
print(done.stdout, end="")
sys.exit(done.returncode)
"""


def steps(block: str) -> list[tuple[str, list[str]]]:
    """Commands with the lines that are shown below each."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def fits(shown: str, line: str) -> bool:
    """``...`` stands for anything; blanks are not counted."""
    parts = [re.escape(part.strip()).replace(r"\ ", " ").replace(" ", r"\s+") for part in shown.split("...")]
    pattern = r".*".join(re.sub(r"(\\s\+)+", r"\\s+", part) for part in parts)
    return re.fullmatch(rf"\s*{pattern}\s*", line) is not None


def check(command: str, shown: list[str], printed: list[str]) -> None:
    """The shown lines are there, in their order, and what is between two of them only where `...` is a line."""
    position = 0
    for line in shown:
        if line.strip() == "...":
            continue
        places = [number for number in range(position, len(printed)) if fits(line, printed[number])]
        assert places, f"{command}\nshould print {line!r}, and prints\n" + "\n".join(printed)
        position = places[0] + 1


def test_the_page_from_top_to_bottom(world: World) -> None:
    blocks = FENCED.findall(PAGE.read_text())
    assert [kind for kind, _, _ in blocks].count("console") == 4
    for kind, name, text in blocks:
        if kind == "python" and name:
            Path(world.folder, name).write_text(text)
        elif kind == "python":
            assert world.python(world.script(text)).endswith(
                "total 5\n1 application 75 127.0.0.1\n2 succeeded 0 127.0.0.1\n"
            )
        else:
            for command, shown in steps(text):
                check(command, shown, world.python("-c", IN_A_SHELL, command).splitlines())
