"""The directories of a runtime environment in a worker: fetched once per node, then the working directory and imports.

Used by worker/main.py, which imports this only for jobs and tasks that have some.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from linckia.base import errors
from linckia.host import packages
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime

NAMESPACE = "linckia.packages"
"""Of the key-value store of the GCS: URI -> bytes of the package."""


def enter(runtime: Runtime, working_dir: str, py_modules: Sequence[str]) -> None:
    """Make the modules importable and the directory the current one. RuntimeEnvSetupError when they cannot be had."""
    for uri in py_modules:
        sys.path.insert(0, folder(runtime, uri))
    if working_dir:
        place = folder(runtime, working_dir)
        os.chdir(place)
        sys.path.insert(0, place)


def store(runtime: Runtime, uri: str, data: bytes) -> None:
    """Put a package where every worker finds it; at once when it is there already."""
    known = runtime.call(runtime.raylet, m.KvKeys(runtime.next_rid(), NAMESPACE, uri.encode()))
    if not known.count and not known.values:
        runtime.call(runtime.raylet, m.KvPut(runtime.next_rid(), NAMESPACE, uri.encode(), data, overwrite=False))


def folder(runtime: Runtime, uri: str) -> str:
    """Where the package lies on this node. RuntimeEnvSetupError when it cannot be had."""

    def fetch() -> bytes:
        found = runtime.call(runtime.raylet, m.KvGet(runtime.next_rid(), NAMESPACE, uri.encode()))
        if not found.values:
            raise packages.PackageError(f"the cluster has no package {uri}: init(runtime_env=...) uploads them")
        return bytes(found.values[0])

    try:
        return packages.unpack(f"{runtime.session_dir}/packages", uri, fetch)
    except (OSError, ValueError, zipfile.BadZipFile, errors.RaySystemError) as error:
        raise errors.RuntimeEnvSetupError(f"runtime_env: {uri} could not be set up on this node: {error}") from error
