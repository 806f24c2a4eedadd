"""Makes `import ray` and `import ray.anything` mean Linckia, by a finder in front of `sys.meta_path`.

`as_ray.install` puts it there. It answers for every name below `ray`, so an installed Ray is never imported. Nothing
is copied: an aliased module is the same object as Linckia's, and stays untouched by the import system.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from linckia.as_ray.names import ALIASES, GATHERED, TOP_LEVEL, VERSION, why_not


class AsRayModule(ModuleType):
    """A module that takes its attributes from Linckia at first use, and explains what it does not have."""

    _offers: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> object:
        full_name = f"{self.__name__}.{name}"
        if name == "__all__":
            return self._available()
        if name in self._offers:
            value: object = getattr(importlib.import_module("linckia"), name, None)
            if value is not None:
                setattr(self, name, value)  # the next access costs nothing extra
                return value
        if full_name in GATHERED or (not name.startswith("__") and target_of(full_name) is not None):
            return importlib.import_module(full_name)
        # A dunder is asked for by machinery (copy, inspect, doctest): a plain answer is enough.
        raise AttributeError(full_name if name.startswith("__") else why_not(full_name), name=name, obj=self)

    def __dir__(self) -> list[str]:
        modules = {alias.split(".")[1] for alias in ALIASES if self.__name__ == "ray" and target_of(alias)}
        own = {name for name in super().__dir__() if not name.startswith("_") or name.startswith("__")}
        return sorted({*own, *self._available(), *modules})

    def __reduce__(self) -> tuple[object, ...]:
        return importlib.import_module, (self.__name__,)  # a function that uses the global `ray` takes it along

    def _available(self) -> list[str]:
        linckia = importlib.import_module("linckia")
        return [name for name in self._offers if not name.startswith("_") and hasattr(linckia, name)]


def target_of(name: str) -> str | None:
    """The module that Ray's module `name` means; None when Linckia has none."""
    head = name
    while head and head not in ALIASES:
        head = head.rpartition(".")[0]
    if not head:
        return None
    target = ALIASES[head] + name[len(head) :]
    if target in sys.modules:
        return target
    try:
        found = importlib.util.find_spec(target)
    except ModuleNotFoundError:  # its parent is not there either, or is no package
        return None
    return target if found is not None else None


class AsRayFinder(MetaPathFinder):
    """Answers for `ray` and everything below it; lets all other names pass."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "ray" and not fullname.startswith("ray."):
            _explain_gaps(fullname)
            return None
        if fullname == "ray" or fullname in GATHERED or target_of(fullname) is not None:
            return ModuleSpec(fullname, AsRayLoader(), is_package=True)
        if _only_asking():
            return None
        raise _not_found(fullname)


def _not_found(fullname: str) -> ModuleNotFoundError:
    # The name is that of the module that would have to exist. With Ray's own name, `from ray import tune` would swallow
    # this error and say "cannot import name 'tune'".
    return ModuleNotFoundError(why_not(fullname), name="linckia" + fullname.removeprefix("ray"))


def _explain_gaps(fullname: str) -> None:
    """`from ray.util import collective` looks for `linckia.util.collective`: let it hear the sentence too."""
    parts = fullname.split(".")
    if len(parts) == 3 and parts[0] == "linckia" and parts[1] in ("util", "experimental"):
        package = sys.modules.get(f"linckia.{parts[1]}")
        if parts[2] in getattr(package, "NOT_THERE_YET", ()):
            raise ModuleNotFoundError(why_not(f"ray.{parts[1]}.{parts[2]}"), name=f"ray.{parts[1]}.{parts[2]}")


def _only_asking() -> bool:
    """Whether `importlib.util.find_spec` wants to know if a module exists.

    Libraries ask so for optional parts of Ray (`find_spec("ray.tune")`) and expect None, not an error; only a real
    import shall fail with a sentence. The protocol does not tell the two apart, the caller's caller does.
    """
    caller = sys._getframe(3)  # this function, find_spec above, importlib's loop over the finders, who started it
    return bool(caller.f_globals.get("__name__") == "importlib.util")


class AsRayLoader(Loader):
    """Loads one name. An alias ends up in `sys.modules` as Linckia's own module."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return AsRayModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        if name == "ray":
            _fill_top_level(module)
        elif name in GATHERED:
            module.__dict__["_offers"] = GATHERED[name]
        else:
            _alias(name)


def _fill_top_level(module: ModuleType) -> None:
    module.__dict__.update(
        __doc__="Linckia under the name of Ray: see linckia.as_ray.",
        __file__=importlib.import_module("linckia").__file__,
        __version__=VERSION,
        _offers=TOP_LEVEL,
    )


def _alias(name: str) -> None:
    """Put Linckia's module into `sys.modules` as `name`; the import system takes what it finds there.

    Submodules that are loaded already get their Ray name too: otherwise a later import would load them as if new and
    set them on the package, over a function of the same name (`ray.util.placement_group` is both).
    """
    target = target_of(name)
    if target is None:
        raise _not_found(name)
    sys.modules[name] = importlib.import_module(target)
    for loaded in list(sys.modules):
        if loaded.startswith(f"{target}."):
            sys.modules.setdefault(name + loaded[len(target) :], sys.modules[loaded])
    for (
        below,
        its_target,
    ) in ALIASES.items():  # Ray's package may be a plain module here, which imports nothing below it
        if below.startswith(f"{name}.") and its_target in sys.modules:
            sys.modules.setdefault(below, sys.modules[its_target])
