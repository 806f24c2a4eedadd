"""`linckia run`: a program sees what `python program.py` would show it."""

from __future__ import annotations

import pytest

from tests.e2e.world import ROOT, World

pytestmark = pytest.mark.e2e


def test_arguments_main_and_path_are_those_of_a_script(world: World) -> None:
    path = world.script("import sys; print(__name__, sys.argv[1:], sys.path[0], __file__ == sys.argv[0])")
    assert world.linckia("run", path, "--help", "-x", "y") == f"__main__ ['--help', '-x', 'y'] {world.folder} True\n"


@pytest.mark.parametrize(("end", "code"), [("sys.exit(7)", 7), ("sys.exit('why')", 1), ("1 / 0", 1), ("pass", 0)])
def test_exit_code_is_the_programs(world: World, end: str, code: int) -> None:
    world.linckia("run", world.script(f"import sys\n{end}\n"), code=code)


def test_traceback_begins_in_the_program(world: World) -> None:
    path = world.script("def inner():\n    raise ValueError('boom')\ninner()\n")
    lines = world.linckia("run", path, code=1).splitlines()
    assert lines[:2] == ["Traceback (most recent call last):", f'  File "{path}", line 3, in <module>']
    assert lines[-1] == "ValueError: boom"


def test_syntax_error_names_the_line(world: World) -> None:
    said = world.linckia("run", world.script("def (:\n"), code=1)
    assert "line 1" in said
    assert "runpy" not in said


def test_missing_file(world: World) -> None:
    assert "no such file: nowhere.py" in world.linckia("run", "nowhere.py", code=2)


@pytest.mark.row("P1")
def test_unmodified_ray_program(world: World) -> None:
    program = ROOT / "examples" / "10-from-ray" / "ray_program.py"
    assert "linckia" not in program.read_text().partition('"""\n')[2]
    printed = world.linckia("run", "--as-ray", str(program), "20000")
    assert "after 20,000 samples" in printed
    assert "errors have Ray's types: True" in printed


def test_without_as_ray_ray_stays_ray(world: World) -> None:
    path = world.script("import sys\nassert 'linckia.as_ray' not in sys.modules\n")
    world.linckia("run", path)
