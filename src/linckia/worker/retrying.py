"""Retries that wait: the back-off of a task's options, and the retry budget of this process as an owner.

``submitter.py`` and ``actor_client.py`` ask here each time a task of theirs is to run again; nearly always the answer
is "at once". Runs under ``Runtime.mutex``. What is decided is core/tasks/retry_pauses.py's.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from linckia.base.limits import RETRY_BUDGET_BURST, RETRY_BUDGET_PER_S
from linckia.core.tasks.retry_pauses import RetryBudget, pause_s
from linckia.host import entropy, environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from linckia.base.backoff import Backoff
    from linckia.worker.actor_client import ActorClient
    from linckia.worker.fallbacks import Fallback
    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import TaskRecord

_rng = entropy.random_generator()


class Means:
    """What a template's options ask for beyond Ray's, for its owner alone; most templates have none (None).

    ``held``: values of options that must live as long as the template does.
    """

    __slots__ = ("backoff", "fallback", "held", "replicas")

    def __init__(
        self, backoff: Backoff | None, fallback: Fallback | None, replicas: int, held: tuple[object, ...]
    ) -> None:
        self.backoff, self.fallback, self.replicas, self.held = backoff, fallback, replicas, held


class Retrying:
    """One per runtime. ``paused``: tasks that wait for their next attempt."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.paused: dict[int, TaskRecord] = {}
        self._budget: RetryBudget | None = None  # made at the first retry: few processes need it

    def pauses(self, record: TaskRecord, go: Callable[[TaskRecord], Any]) -> bool:
        """True when the retry has to wait; ``go(record)`` is called later. Once per retry, after it was noted."""
        budget = self._budget
        if budget is None:
            budget = self._budget = _budget_of(self.runtime.job_config)
        means = record.template.means
        failures = record.attempt - record.oom_deaths
        schedule = means.backoff if means is not None else None
        wait_s = pause_s(schedule, failures, budget.take(time.monotonic()), _rng)
        if wait_s <= 0:
            return False
        self.later(record, wait_s, go)
        return True

    def later(self, record: TaskRecord, wait_s: float, go: Callable[[TaskRecord], Any]) -> None:
        """Call ``go(record)`` after a while, unless it was cancelled meanwhile or this process leaves."""
        record.queue = record.peer = None
        self.paused[id(record)] = record
        runtime = self.runtime

        def again() -> None:
            with runtime.mutex:
                if self.paused.pop(id(record), None) is not None and not record.cancelled and not runtime.closing:
                    go(record)

        runtime.reactor.call_later(wait_s, again)

    def take(self, actor: ActorClient) -> list[TaskRecord]:
        """The calls of an actor that is dead need not wait: they are given up here."""
        calls = [record for record in self.paused.values() if record.actor is actor and not record.cancelled]
        for record in calls:
            del self.paused[id(record)]
        return calls


def _budget_of(job: Any) -> RetryBudget:
    """The job's setting, which its workers have in their environment, else this process's, else the default."""
    variables: dict[str, str] = job.env_vars if job is not None else {}

    def setting(name: str, default: float) -> float:
        written = variables.get(f"LINCKIA_{name}") or environment.option(name)
        try:
            return float(written) if written else default
        except ValueError:
            sys.stderr.write(f"LINCKIA_{name}={written!r} is not a number; {default:g} is used\n")
            return default

    per_s = setting("retry_budget_per_s", RETRY_BUDGET_PER_S)
    return RetryBudget(per_s, setting("retry_budget_burst", RETRY_BUDGET_BURST))
