"""Spill files: reserved, fused, shared, deleted; directories of dead nodes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from linckia.shm.spill_files import PREFIX, SpillFiles, remove_stale


def make(path: Path, name: str = "node1") -> SpillFiles:
    files = SpillFiles(str(path), name)
    files.open()
    return files


def names(files: SpillFiles) -> list[str]:
    return sorted(name for name in os.listdir(files.path) if name != "lock")


@pytest.mark.row("3.15")
def test_objects_share_a_file_and_it_goes_with_the_last_of_them(tmp_path: Path) -> None:
    files = make(tmp_path)
    files.write(1, [(0, memoryview(b"abc")), (3, memoryview(b"defgh"))])
    files.complete(1, 8, 2)
    fd = files.open_for_reading(1)
    assert os.pread(fd, 5, 3) == b"defgh"
    files.drop_share(1)
    assert names(files) == ["000001.objects"] and files.files_bytes == 8
    files.drop_share(1)
    assert names(files) == [] and files.files_bytes == 0
    assert os.pread(fd, 3, 0) == b"abc"  # who reads it still can
    os.close(fd)
    files.close()
    assert not os.listdir(tmp_path)


def test_between_objects_that_begin_with_a_page_there_are_zeros(tmp_path: Path) -> None:
    files = make(tmp_path)
    files.write(1, [(0, memoryview(b"abc")), (4096, memoryview(b"defgh"))])
    assert Path(files.path_of(1)).read_bytes() == b"abc" + bytes(4093) + b"defgh"
    files.close()


def test_only_the_user_may_look(tmp_path: Path) -> None:
    files = make(tmp_path)
    files.write(1, [(0, memoryview(b"secret"))])
    assert stat.S_IMODE(os.stat(files.path).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(files.path_of(1)).st_mode) == 0o600
    files.close()


@pytest.mark.row("P21")
def test_what_does_not_fit_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = make(tmp_path)

    def full(_fd: int, _offset: int, _size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        files.write(1, [(0, memoryview(b"x" * 100))])
    assert names(files) == []
    monkeypatch.undo()
    files.write(1, [(0, memoryview(b"x"))])  # the same number again: a retry
    files.close()


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    files = SpillFiles(str(tmp_path / "later" / "deep"), "node1")
    assert files.space().total > 0
    files.close()
    assert not os.listdir(tmp_path)


def test_what_dead_nodes_left_is_removed_and_living_ones_are_not_touched(tmp_path: Path) -> None:
    alive = make(tmp_path, "alive")
    dead = tmp_path / f"{PREFIX}dead"
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "000001.objects").write_bytes(b"x")
    (tmp_path / "other").mkdir()
    remove_stale(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == [f"{PREFIX}alive", "other"]
    alive.close()
