"""What a job's supervisor leaves behind is found however its parents die meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from linckia.host import process
from linckia.node import zygote

SHELL, DRIVER, SESSION, WORKER = 10, 11, 12, 13


@pytest.mark.row("P5")
def test_who_comes_to_us_while_we_look_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell ends between the look at our children and the look below it: its child is ours by then; likewise that
    one's child, which has left the group.
    """
    children = {SHELL: [DRIVER], DRIVER: [SESSION]}
    ours, ended, looks = [WORKER, SHELL], list[int](), list[int]()

    def dies(pid: int) -> None:
        ours.extend(children.pop(pid, []))
        ended.append(pid)

    def below(pid: int) -> list[int]:
        looks.append(pid)
        if pid == SHELL and SHELL not in ended:
            dies(SHELL)
        return [each for child in children.get(pid, []) for each in (child, *children.get(child, []))]

    def end_now(pid: int, is_it: Callable[[], bool], _wait_max_s: float) -> None:
        assert is_it()
        dies(pid)

    monkeypatch.setattr(process, "children_of", lambda _pid: list(ours))
    monkeypatch.setattr(process, "descendants_of", below)
    monkeypatch.setattr(process, "end_now", end_now)
    monkeypatch.setattr(zygote, "_has_mark", lambda pid, _mark: pid not in ended)
    swept = object.__new__(zygote.Zygote)
    swept.pid, swept.workers = 1, {WORKER: 0}  # type: ignore[dict-item]
    swept._end_supervised(99)
    assert ended == [SHELL, DRIVER, SESSION]
    assert WORKER not in looks, "costs do not grow with workers"
