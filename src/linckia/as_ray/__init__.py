"""The `import ray` drop-in: after `import linckia.as_ray`, Ray's names mean Linckia's in this process.

Users import it first thing, or run `python -m linckia.as_ray script.py`; workers of a job whose driver did so call
`install` before user code. Names only, no behaviour of its own. What Linckia does not have answers with a sentence that
says what is missing and what to do: ImportError for modules, AttributeError for attributes.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence

from linckia.as_ray.finder import AsRayFinder, AsRayModule
from linckia.as_ray.settings import adopt

_finder = AsRayFinder()


def install() -> None:
    """Make `import ray` mean Linckia. Does nothing when it does already; ImportError when real Ray is loaded."""
    if is_installed():
        return
    loaded = sys.modules.get("ray")
    if loaded is not None and not isinstance(loaded, AsRayModule):
        place = getattr(loaded, "__file__", None) or "unknown place"
        raise ImportError(f"ray is already imported ({place}): import linckia.as_ray before anything that imports ray")
    adopt(os.environ)  # noqa: TID251 - the program's own variables, under the names that Linckia reads
    sys.meta_path.insert(0, _finder)


def is_installed() -> bool:
    """Whether `import ray` means Linckia in this process."""
    return _finder in sys.meta_path


def uninstall() -> None:
    """Undo `install`, for tests and notebooks. Modules that imported `ray` keep what they have."""
    if is_installed():
        sys.meta_path.remove(_finder)
    for name in [name for name in sys.modules if name == "ray" or name.startswith("ray.")]:
        del sys.modules[name]


def run_script(path: str, arguments: Sequence[str] = ()) -> None:
    """Run a Ray program as `python path arguments...` would, on Linckia. For `linckia run --as-ray`."""
    install()
    sys.argv = [path, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    runpy.run_path(path, run_name="__main__")


install()
