"""Directories as packages: equal content has one name, what is excluded stays, and one of many readers unpacks."""

from __future__ import annotations

import os
import stat
import threading
import zipfile
from pathlib import Path

import pytest

from linckia.host import packages
from linckia.host.packages import PackageError, pack, unpack, uri_of


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def unpacked(tmp_path: Path, data: bytes) -> set[str]:
    where = Path(unpack(str(tmp_path / "packages"), uri_of(data), lambda: data))
    return {path.relative_to(where).as_posix() for path in where.rglob("*") if path.is_file()}


def test_equal_content_has_one_name(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "one", "a.py", "b/c.py"), tree(tmp_path / "two", "b/c.py", "a.py")
    os.utime(two / "a.py", (1, 1))
    assert uri_of(pack(str(one))) == uri_of(pack(str(two)))
    (two / "a.py").write_text("changed")
    assert uri_of(pack(str(one))) != uri_of(pack(str(two)))


def test_what_is_excluded_stays_at_home(tmp_path: Path) -> None:
    folder = tree(
        tmp_path / "p", "a.py", "b/c.csv", "b/d.py", "data/x", "b/data/y", ".git/z", "venv/q", "b/__pycache__/r"
    )
    assert unpacked(tmp_path, pack(str(folder))) == {"a.py", "b/c.csv", "b/d.py", "data/x", "b/data/y"}
    assert unpacked(tmp_path, pack(str(folder), ["*.csv", "/data/"])) == {"a.py", "b/d.py"}
    assert unpacked(tmp_path, pack(str(folder), ["b/data"])) == {"a.py", "b/c.csv", "b/d.py", "data/x"}


def test_a_module_keeps_its_name_and_a_program_its_permissions(tmp_path: Path) -> None:
    folder = tree(tmp_path / "module", "__init__.py", "tool.sh")
    (folder / "tool.sh").chmod(0o755)
    data = pack(str(folder), keep_name=True)
    assert unpacked(tmp_path, data) == {"module/__init__.py", "module/tool.sh"}
    tool = Path(unpack(str(tmp_path / "packages"), uri_of(data), lambda: data)) / "module" / "tool.sh"
    assert stat.S_IMODE(tool.stat().st_mode) == 0o755


def test_an_archive_is_sent_as_it_is(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inside.py", "1")
    data = pack(str(tmp_path / "a.zip"))
    assert data == (tmp_path / "a.zip").read_bytes()
    assert unpacked(tmp_path, data) == {"inside.py"}


def test_what_cannot_be_packed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PackageError, match="missing' is no directory"):
        pack(str(tmp_path / "missing"))
    with pytest.raises(PackageError, match="is not the name of a package"):
        unpack(str(tmp_path), "gcs://../outside.zip", lambda: b"")
    monkeypatch.setattr(packages, "PACKAGE_MAX_BYTES", 1 << 20)
    folder = tree(tmp_path / "large", "a.py")
    (folder / "noise").write_bytes(os.urandom(2 << 20))
    with pytest.raises(PackageError, match=r"more than 1 MiB.*excludes"):
        pack(str(folder))
    assert pack(str(folder), ["noise"])


def test_the_first_of_many_unpacks_and_the_others_wait(tmp_path: Path) -> None:
    data = pack(str(tree(tmp_path / "p", *(f"{number}.py" for number in range(50)))))
    fetched, seen = [0], []
    start = threading.Barrier(8)

    def fetch() -> bytes:
        fetched[0] += 1
        return data

    def want() -> None:
        start.wait(10)
        seen.append(len(os.listdir(unpack(str(tmp_path / "packages"), uri_of(data), fetch))))

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (fetched, seen) == ([1], [50] * 8)


def test_what_a_killed_one_left_is_made_anew(tmp_path: Path) -> None:
    data = pack(str(tree(tmp_path / "p", "a.py")))
    name = uri_of(data).removeprefix("gcs://").removesuffix(".zip")
    tree(tmp_path / "packages" / f"{name}.partial", "half of it")
    assert unpacked(tmp_path, data) == {"a.py"}
