"""Fallbacks: what takes the place of a result after the last failure, the program's own or the machine's."""

import os
import signal

import linckia


@linckia.remote(max_retries=0)
def exact(kind):
    if kind == "bug":
        raise ValueError("cannot be computed")
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    return 42


def estimate(error):
    """Given the exception; runs as a task of its own."""
    return f"about 40 ({type(error).__name__}, the {error.origin}'s failure)"


with linckia.init():
    for kind in ("fine", "bug", "crash"):
        value, function = exact.options(fallback=None), exact.options(fallback=estimate)
        print(kind, "->", linckia.get(value.remote(kind)), "|", linckia.get(function.remote(kind)))
