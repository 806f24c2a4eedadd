"""Directories as zip packages that are named by their content: what `runtime_env` sends to workers.

Packed by the driver (api/runtime_envs.py), unpacked once per node and session (worker/packages.py).
"""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from linckia.model.specs import PACKAGE_SCHEME

PACKAGE_MAX_BYTES = 512 << 20
NEVER = (".git", ".venv", "venv", "__pycache__")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that zip knows: equal content shall make equal packages


class PackageError(ValueError):
    """A directory that cannot be sent; the text is the whole sentence."""


def uri_of(data: bytes) -> str:
    """The name of a package: equal for equal content."""
    return f"{PACKAGE_SCHEME}_linckia_pkg_{hashlib.blake2b(data, digest_size=16).hexdigest()}.zip"


def pack(path: str, excludes: Sequence[str] = (), *, keep_name: bool = False) -> bytes:
    """A zip of the directory's files, or the archive that ``path`` is. ``keep_name``: below a folder of its own name.

    ``excludes`` are patterns (``*.csv``, ``data``, ``data/*``) on paths relative to the directory; NEVER goes without
    saying. PackageError for what is not there, is no directory or zip, or packs to more than PACKAGE_MAX_BYTES.
    """
    root = Path(path)
    if root.is_file() and zipfile.is_zipfile(root):
        _check_size(root.stat().st_size, path)
        return root.read_bytes()
    if not root.is_dir():
        raise PackageError(f"{path!r} is no directory and no zip file")
    base = f"{root.resolve().name}/" if keep_name else ""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, name in _files(root, excludes):
            entry = zipfile.ZipInfo(base + name, EPOCH)
            entry.external_attr = (file.stat().st_mode & 0o777) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())
            _check_size(packed.tell(), path)
    return packed.getvalue()


def unpack(folder: str, uri: str, fetch: Callable[[], bytes]) -> str:
    """Where the package lies in ``folder``; ``fetch`` gives its bytes to the first of the node that asks.

    Others wait for that one. A package appears whole or not at all.
    """
    name = uri.removeprefix(PACKAGE_SCHEME).removesuffix(".zip")
    if os.sep in name or name in ("", ".", ".."):
        raise PackageError(f"{uri!r} is not the name of a package")
    whole = Path(folder) / name
    if whole.is_dir():
        return str(whole)
    Path(folder).mkdir(mode=0o700, exist_ok=True)
    with open(f"{whole}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.is_dir():
            partial = Path(f"{whole}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # of one that was killed meanwhile
            with zipfile.ZipFile(io.BytesIO(fetch())) as archive:
                _extract(archive, partial)
            partial.rename(whole)
    return str(whole)


def _extract(archive: zipfile.ZipFile, target: Path) -> None:
    """With the permissions that were packed, which ``extractall`` forgets."""
    target.mkdir(mode=0o700)
    for entry in archive.infolist():
        made = archive.extract(entry, target)
        mode = entry.external_attr >> 16 & 0o777
        if mode and not entry.is_dir():
            os.chmod(made, mode | 0o400)


def _files(root: Path, excludes: Sequence[str]) -> Iterator[tuple[Path, str]]:
    for folder, folders, files in os.walk(root):
        below = os.path.relpath(folder, root)
        prefix = "" if below == "." else f"{below}/"
        folders[:] = sorted(name for name in folders if name not in NEVER and not _excluded(prefix + name, excludes))
        for name in sorted(files):
            path = Path(folder) / name
            if path.is_file() and not _excluded(prefix + name, excludes):
                yield path, prefix + name


def _excluded(path: str, patterns: Sequence[str]) -> bool:
    name = path.rpartition("/")[2]
    for pattern in patterns:
        wanted = pattern.strip("/")
        if fnmatch.fnmatchcase(path, wanted) or ("/" not in wanted and fnmatch.fnmatchcase(name, wanted)):
            return True
    return False


def _check_size(size_bytes: int, path: str) -> None:
    if size_bytes > PACKAGE_MAX_BYTES:
        raise PackageError(
            f"{path!r} packs to more than {PACKAGE_MAX_BYTES >> 20} MiB; name what is not needed in "
            'runtime_env["excludes"], or put large files where every node can read them'
        )
