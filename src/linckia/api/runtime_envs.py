"""`runtime_env` of jobs, tasks and actors: what may be in it, and how a job's directories reach the cluster."""

from __future__ import annotations

import os
import re
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

from linckia.api.options_values import wrong_type
from linckia.model.specs import PACKAGE_SCHEME

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime

EFFECTIVE = frozenset({"env_vars", "working_dir", "py_modules", "excludes", "config"})
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.+")


def of_task(name: str, value: object) -> object:
    """A runtime environment of a task or actor, or None: a dict without local paths, which only a job may have."""
    if value is None:
        return None
    checked = _checked(name, value)
    for field, path in _places(checked):
        if not isinstance(path, str):
            raise wrong_type(f"{name}['{field}']", "a URI; modules are uploaded for a whole job only", path)
        if not _URI.fullmatch(path):
            raise ValueError(
                f"option {name}['{field}']: {path!r} is not a URI; local directories and modules are uploaded for a "
                "whole job only: give them to linckia.init(runtime_env=...)"
            )
    return checked


def of_job(value: object) -> dict[str, Any]:
    """A runtime environment of a job: local directories, zip files and modules are packed when it connects."""
    checked = _checked("runtime_env", value)
    for field, path in _places(checked):
        if not isinstance(path, str) and not (field == "py_modules" and isinstance(path, (ModuleType, os.PathLike))):
            raise wrong_type(f"runtime_env['{field}']", "a path of a directory or zip file", path)
    return checked


def uploaded(runtime: Runtime, env: dict[str, Any]) -> dict[str, Any]:
    """The same with the URIs of packages instead of paths; their content is in the cluster when this returns.

    ValueError for what cannot be packed.
    """
    from linckia.host import packages  # noqa: PLC0415  (start-up time: few jobs have directories)
    from linckia.worker.packages import store  # noqa: PLC0415

    def upload(place: Any, field: str) -> str:
        if isinstance(place, str) and _URI.fullmatch(place):
            return place
        path = os.path.dirname(place.__file__ or "") if isinstance(place, ModuleType) else os.fspath(place)
        try:
            data = packages.pack(os.path.expanduser(path), env.get("excludes") or (), keep_name=field == "py_modules")
        except packages.PackageError as error:
            raise ValueError(f"runtime_env[{field!r}]: {error}") from None
        uri = packages.uri_of(data)
        store(runtime, uri, data)
        return uri

    changed = dict(env)
    if env.get("working_dir"):
        changed["working_dir"] = upload(env["working_dir"], "working_dir")
    if env.get("py_modules"):
        changed["py_modules"] = [upload(place, "py_modules") for place in env["py_modules"]]
    return changed


def _places(env: dict[str, Any]) -> list[tuple[str, Any]]:
    places = [("py_modules", place) for place in env.get("py_modules") or ()]
    return [("working_dir", env["working_dir"]), *places] if env.get("working_dir") is not None else places


def _checked(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong_type(name, "a dict, a RuntimeEnv or None", value)
    modules = value.get("py_modules")
    if modules is not None and not isinstance(modules, (list, tuple)):
        raise wrong_type(f"{name}['py_modules']", "a list of URIs", modules)
    excludes = value.get("excludes")
    if excludes is not None and not (
        isinstance(excludes, (list, tuple)) and all(isinstance(one, str) for one in excludes)
    ):
        raise wrong_type(f"{name}['excludes']", "a list of patterns", excludes)
    variables = value.get("env_vars")
    if variables is not None and not (
        isinstance(variables, dict) and all(isinstance(one, str) for pair in variables.items() for one in pair)
    ):
        raise wrong_type(f"{name}['env_vars']", "a dict of str to str", variables)
    _warn_of_no_effect(name, value)
    return dict(value)


def _warn_of_no_effect(name: str, env: dict[str, Any]) -> None:
    fields = sorted(field for field, given in env.items() if given and field not in EFFECTIVE)
    remote = sorted(
        f"{field} {place}"
        for field, place in _places(env)
        if isinstance(place, str) and _URI.fullmatch(place) and not place.startswith(PACKAGE_SCHEME)
    )
    for what in (*fields, *remote):
        warnings.warn(
            f"{name}: {what} has no effect yet; install packages beforehand on every node", UserWarning, stacklevel=2
        )
