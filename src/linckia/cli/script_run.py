"""Runs somebody's program inside this process as `python script.py` would. Called by `linckia run`.

It changes what the interpreter changes for a script (`sys.argv`, `sys.path[0]`, `__main__`) and, on request, what
`import ray` means. It refuses to touch the program.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from types import TracebackType

INTERRUPTED = 130  # 128 + SIGINT, as shells say it


def run(path: str, arguments: Sequence[str], *, as_ray: bool) -> int | str | None:
    """Run the program to its end; what `sys.exit` should be given. Tracebacks are printed without our own frames."""
    if not os.path.isfile(path):
        print(f"linckia run: no such file: {path}", file=sys.stderr)
        return 2
    if as_ray:
        import linckia.as_ray  # noqa: F401, PLC0415 - importing it is what makes `import ray` mean Linckia
    sys.argv = [path, *arguments]
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.abspath(path))  # instead of the place of the `linckia` command
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as request:
        return request.code
    except KeyboardInterrupt as interrupt:
        _show(interrupt, path)
        return INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - the end of a program: shown as the interpreter shows it
        _show(error, path)
        return 1
    return 0


def _show(error: BaseException, path: str) -> None:
    ours_hidden = error.with_traceback(_from_script_on(error.__traceback__, path))
    sys.excepthook(type(ours_hidden), ours_hidden, ours_hidden.__traceback__)


def _from_script_on(trace: TracebackType | None, path: str) -> TracebackType | None:
    """The traceback without what runs the script: nothing when the script has no frame in it (a syntax error)."""
    while trace is not None and trace.tb_frame.f_code.co_filename != path:
        trace = trace.tb_next
    return trace
