"""Failures: what the task raised arrives at `get`; what the machine did (a killed process) is retried by itself."""

import os
import pathlib
import signal
import tempfile

import linckia
from linckia.exceptions import WorkerCrashedError


@linckia.remote
def divide(a, b):
    return a / b


@linckia.remote
def die_once(marker):
    """Kills its own process the first time. Tasks are retried three times unless told otherwise."""
    if not os.path.exists(marker):
        pathlib.Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done at the second attempt"


@linckia.remote(max_retries=0)
def die():
    os.kill(os.getpid(), signal.SIGKILL)


@linckia.remote(max_retries=5, retry_exceptions=[ConnectionError])
def flaky(marker):
    """Raises three times; `retry_exceptions` says that trying again may help."""
    with open(marker, "a") as file:
        file.write("x")
    if os.path.getsize(marker) <= 3:
        raise ConnectionError("no answer")
    return os.path.getsize(marker)


with linckia.init(), tempfile.TemporaryDirectory() as folder:
    try:
        linckia.get(divide.remote(1, 0))
    except ZeroDivisionError as error:  # also a linckia.exceptions.RayTaskError, which tells process and traceback
        print("the task's own error:", type(error).__name__)
    print(linckia.get(die_once.remote(f"{folder}/marker")))
    print("attempts of the flaky one:", linckia.get(flaky.remote(f"{folder}/attempts")))
    try:
        linckia.get(die.remote())
    except WorkerCrashedError as error:
        print("not retried:", type(error).__name__)
    else:
        raise AssertionError("a dead task gave a result")
