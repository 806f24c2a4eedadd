"""What the bars look like, and that they leave the terminal as they found it."""

from __future__ import annotations

import io

import pytest

from linckia.util.progress_screen import BarState, Screen

pytestmark = pytest.mark.row("11.23")


class Terminal(io.StringIO):
    """Remembers what stands on its lines, for the few control sequences that are used."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if text.startswith("\x1b["):
            up, rest = text[2:].split("F", 1)
            assert rest == "\x1b[J"
            del self.lines[-int(up) :]
        else:
            assert text.endswith("\n")
            self.lines += text.splitlines()
        return len(text)


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def screen(terminal: Terminal) -> Screen:
    return Screen(terminal)


def bar(key: str, done: int = 0, total: int | None = 10, *, closed: bool = False, unit: str = "it") -> BarState:
    return BarState(key=key, desc=key, done=done, total=total, unit=unit, closed=closed)


def test_a_bar_shows_part_count_time_and_speed(screen: Screen, terminal: Terminal) -> None:
    screen.show(bar("load", 0), 100.0)
    screen.show(bar("load", 5), 102.0)
    assert terminal.lines == ["load:  50%|██████████          | 5/10 [00:02<00:02, 2.5it/s]"]


def test_a_bar_without_a_total_shows_its_count(screen: Screen, terminal: Terminal) -> None:
    screen.show(bar("load", 0, None, unit="B"), 0.0)
    screen.show(bar("load", 7200, None, unit="B"), 3600.0)
    assert terminal.lines == ["load: 7200B [1:00:00, 2B/s]"]


def test_bars_are_redrawn_in_place_in_order_of_appearance(screen: Screen, terminal: Terminal) -> None:
    for now_s in range(5):
        screen.show(bar("a", now_s), float(now_s))
        screen.show(bar("b", now_s * 2), now_s + 0.5)
    assert [line[:2] for line in terminal.lines] == ["a:", "b:"]
    assert " 8/10 " in terminal.lines[1]


def test_drawing_is_limited_in_time(screen: Screen, terminal: Terminal) -> None:
    screen.show(bar("a", 0), 1.0)
    screen.show(bar("a", 5), 1.01)
    assert " 0/10 " in terminal.lines[0]
    screen.show(bar("a", 6), 1.06)
    assert " 6/10 " in terminal.lines[0]


def test_a_closed_bar_leaves_its_line_above_the_others(screen: Screen, terminal: Terminal) -> None:
    screen.show(bar("a", 1), 1.0)
    screen.show(bar("b", 1), 2.0)
    screen.show(bar("b", 10, closed=True), 2.01)
    screen.show(bar("a", 2), 3.0)
    assert [line[:2] for line in terminal.lines] == ["b:", "a:"]
    assert " 10/10 " in terminal.lines[0]
    screen.show(bar("a", 3, closed=True), 4.0)
    assert len(terminal.lines) == 2


def test_hidden_bars_leave_the_terminal_free(screen: Screen, terminal: Terminal) -> None:
    screen.show(bar("a", 1), 1.0)
    screen.hide_bars()
    screen.hide_bars()
    assert terminal.lines == []
    terminal.write("printed\n")
    screen.show(bar("a", 2), 2.0)
    screen.unhide_bars()
    assert terminal.lines == ["printed"]
    screen.unhide_bars()
    assert [line[:7] for line in terminal.lines] == ["printed", "a:  20%"]


def test_the_bars_of_a_dead_process_go(screen: Screen, terminal: Terminal) -> None:
    screen.show(bar("w1-0", 1), 1.0)
    screen.show(bar("w1-1", 1), 2.0)
    screen.show(bar("w2-0", 1), 3.0)
    screen.drop("w1-")
    assert [line[:4] for line in terminal.lines] == ["w2-0"]


def test_more_bars_than_lines(screen: Screen, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "6")
    monkeypatch.setenv("COLUMNS", "40")
    for number in range(10):
        screen.show(bar(f"bar {number}"), float(number))
    assert len(terminal.lines) == 4
    assert terminal.lines[-1] == "... and 7 more"
    assert all(len(line) < 40 for line in terminal.lines)


def test_without_a_terminal_a_line_now_and_then() -> None:
    out = io.StringIO()
    screen = Screen(out)
    for now_s in range(25):
        screen.show(bar("a", now_s, 100), float(now_s))
    assert [line.split("| ")[1].split()[0] for line in out.getvalue().splitlines()] == ["10/100", "20/100"]
    screen.show(bar("a", 25, 100, closed=True), 25.0)
    assert out.getvalue().splitlines()[-1].startswith("a:  25%")
    assert "\x1b" not in out.getvalue()


def test_a_terminal_that_is_gone_harms_nothing() -> None:
    out = io.StringIO()
    out.close()

    class Gone(Terminal):
        def write(self, text: str) -> int:
            return out.write(text)

    screen = Screen(Gone())
    screen.show(bar("a"), 1.0)
    screen.show(bar("a", closed=True), 2.0)


@pytest.mark.parametrize(("done", "total", "expected"), [(0, 0, "0it"), (20, 10, "100%"), (-1, 10, "  0%")])
def test_odd_counts(screen: Screen, terminal: Terminal, done: int, total: int, expected: str) -> None:
    screen.show(bar("a", done, total), 1.0)
    assert expected in terminal.lines[0]
