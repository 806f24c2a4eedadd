"""The actor of a Pool: runs chunks of calls and reports each outcome, its own state untouched by failures.

Only dispatch.py calls it. A failing call is part of the answer, so that one bad item costs nothing but itself.
"""

from __future__ import annotations

import pickle
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cloudpickle

import linckia

# Functions kept unpickled between chunks. Few: each keeps its object, and what it closes over, in memory.
_KEPT_FUNCTIONS = 4

Call = tuple[tuple[Any, ...], dict[str, Any]]


class RemoteTraceback(Exception):
    """Shown as the cause of an error that a pool worker sent: where it happened there."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


@dataclass(frozen=True)
class Failure:
    """The exception of one call and the text of its traceback, which pickling would lose."""

    error: BaseException
    remote_traceback: str

    def exception(self) -> BaseException:
        """The exception with the remote traceback attached, ready to be raised here."""
        self.error.__cause__ = RemoteTraceback(self.remote_traceback)
        return self.error


@dataclass(frozen=True)
class Success:
    """The value of one call."""

    value: Any


Outcome = Success | Failure


class PoolWorker:
    """One "process" of a pool."""

    def __init__(self, initializer: Callable[..., object] | None, initargs: Iterable[Any]) -> None:
        self._functions: OrderedDict[Any, Callable[..., Any]] = OrderedDict()
        if initializer is not None:
            initializer(*initargs)

    def ready(self) -> None:
        """Answers once the initializer has run."""

    def run(self, function: tuple[Any], calls: list[Call], stop_at_failure: bool) -> list[Outcome]:
        """One outcome per call, in order; with `stop_at_failure` none after the first failure.

        `function` is a tuple so that a ref in it stays a ref: it is then fetched once, not with each chunk.
        """
        callee = self._function(function[0])
        outcomes: list[Outcome] = []
        for args, kwargs in calls:
            try:
                outcomes.append(Success(callee(*args, **kwargs)))
            except Exception as error:  # noqa: BLE001 - the user's error, to be raised where the result is asked for
                outcomes.append(_failure(error))
                if stop_at_failure:
                    break
        return outcomes

    def _function(self, given: Any) -> Callable[..., Any]:
        if not isinstance(given, linckia.ObjectRef):
            callee: Callable[..., Any] = given
            return callee
        if given not in self._functions:
            self._functions[given] = linckia.get(given)
        self._functions.move_to_end(given)
        if len(self._functions) > _KEPT_FUNCTIONS:
            self._functions.popitem(last=False)
        return self._functions[given]


def _failure(error: Exception) -> Failure:
    """`error` if it survives the journey, else a RuntimeError with its text."""
    text = "".join(traceback.format_exception(error))
    error.__traceback__ = error.__cause__ = error.__context__ = None
    try:
        pickle.loads(cloudpickle.dumps(error))
    except Exception as reason:  # noqa: BLE001 - user classes may raise anything while they are pickled or rebuilt
        stand_in = RuntimeError(f"{type(error).__qualname__}: {error} (the exception itself cannot be sent: {reason})")
        return Failure(stand_in, text)
    return Failure(error, text)
