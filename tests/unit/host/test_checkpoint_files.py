"""Files of checkpoints: whole or not there, newest first, damaged ones passed over, few kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from linckia.host.checkpoint_files import CheckpointFiles, DamagedError


def payloads(files: CheckpointFiles) -> list[bytes]:
    return [files.read(path).payload for path in files.paths()]


def test_what_was_saved_is_read_and_the_newest_comes_first(tmp_path: Path) -> None:
    files = CheckpointFiles(str(tmp_path / "new" / "folder"), 0, keep=3)
    assert files.paths() == []
    saved = [files.save(text, calls) for calls, text in enumerate([b"one", b"", b"x" * 10**6])]
    assert payloads(files) == [b"x" * 10**6, b"", b"one"]
    assert [one.number for one in saved] == [1, 2, 3]
    newest = files.read(files.paths()[0])
    assert (newest.number, newest.calls, newest.saved_s) == (3, 2, saved[2].saved_s)
    assert os.stat(newest.path).st_mode & 0o077 == 0, "state is nobody else's business"


def test_only_so_many_are_kept(tmp_path: Path) -> None:
    files = CheckpointFiles(str(tmp_path), 0, keep=2)
    for number in range(5):
        files.save(bytes([number]), 0)
    assert payloads(files) == [b"\x04", b"\x03"]
    assert len(os.listdir(tmp_path)) == 2, "nothing is left aside"


def test_numbers_go_on_in_the_next_life(tmp_path: Path) -> None:
    CheckpointFiles(str(tmp_path), 0, keep=9).save(b"old", 5)
    assert CheckpointFiles(str(tmp_path), 1, keep=9).save(b"new", 6).number == 2


def test_what_a_replaced_life_still_writes_is_not_the_newest(tmp_path: Path) -> None:
    old, new = CheckpointFiles(str(tmp_path), 0, keep=9), CheckpointFiles(str(tmp_path), 1, keep=9)
    old.save(b"1", 0)
    new.save(b"2", 0)
    for _ in range(3):
        old.save(b"from a process that should be dead", 0)
    assert payloads(new)[0] == b"2"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[:-1], "bytes instead of"),
        (lambda data: data[:10], "fewer than"),
        (lambda data: b"", "fewer than"),
        (lambda data: data + b"x", "bytes instead of"),
        (lambda data: b"NOTACKPT" + data[8:], "does not begin like"),
        (lambda data: data[:-40] + bytes([data[-40] ^ 1]) + data[-39:], "checksum"),
        (lambda data: data[:12] + b"\xff" + data[13:], "checksum"),
    ],
)
def test_damage_is_seen(tmp_path: Path, damage: object, told: str) -> None:
    files = CheckpointFiles(str(tmp_path), 0, keep=2)
    path = Path(files.save(b"state" * 20, 1).path)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DamagedError, match=told):
        files.read(str(path))


def test_a_file_that_is_not_finished_does_not_count(tmp_path: Path) -> None:
    files = CheckpointFiles(str(tmp_path), 0, keep=2)
    files.save(b"whole", 0)
    (tmp_path / "checkpoint-000000-000000000002.lkc.77.tmp").write_bytes(b"half")
    assert payloads(files) == [b"whole"]


def test_halves_of_earlier_lives_are_cleared_away(tmp_path: Path) -> None:
    for life in (0, 1, 2):
        (tmp_path / f"checkpoint-00000{life}-000000000009.lkc.77.tmp").write_bytes(b"half")
    (tmp_path / "notes.tmp").write_text("not ours")
    CheckpointFiles(str(tmp_path), 1, keep=2).save(b"whole", 0)
    left = sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".tmp")
    assert left == [f"checkpoint-00000{life}-000000000009.lkc.77.tmp" for life in (1, 2)] + ["notes.tmp"]


def test_a_save_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = CheckpointFiles(str(tmp_path), 0, keep=1)
    files.save(b"whole", 0)

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.save(b"more", 0)
    assert payloads(files) == [b"whole"]
    assert len(os.listdir(tmp_path)) == 1


def test_calls_are_counted_over_all_lives(tmp_path: Path) -> None:
    assert CheckpointFiles(str(tmp_path), 0, keep=1).calls() is None
    first = CheckpointFiles(str(tmp_path), 0, keep=1)
    for calls in range(1, 8):
        first.count(calls)
    second = CheckpointFiles(str(tmp_path), 1, keep=1)
    assert second.calls() == 7
    second.count(8)
    assert second.calls() == 8


def test_nothing_is_left_when_it_is_forgotten(tmp_path: Path) -> None:
    files = CheckpointFiles(str(tmp_path / "task" / "name"), 0, keep=1)
    files.count(1)
    files.save(b"state", 1)
    files.forget(parent=True)
    assert list(tmp_path.iterdir()) == []
    other = CheckpointFiles(str(tmp_path / "task" / "other"), 0, keep=1)
    other.save(b"state", 1)
    files.forget(parent=True)
    assert len(other.paths()) == 1
