"""Is there another attempt after one that failed, and when? Three budgets that do not touch each other: for what the
application did, for a lack of memory, and for nodes and supervisors that were lost. Called by `life.py`.
"""

from __future__ import annotations

from typing import NamedTuple

from linckia.base.backoff import Backoff, UnitRandom
from linckia.base.limits import JOB_RETRY_CAP_S, JOB_RETRY_FIRST_S, OOM_RETRY_CAP_S, OOM_RETRY_FIRST_S
from linckia.core.jobs.states import AttemptCause
from linckia.model.jobs import JobPolicy, JobRecord

JITTER = 0.5
SYSTEM_BACKOFF = Backoff(JOB_RETRY_FIRST_S, JOB_RETRY_CAP_S, jitter=JITTER)
OOM_BACKOFF = Backoff(OOM_RETRY_FIRST_S, OOM_RETRY_CAP_S, jitter=JITTER)
C = AttemptCause


class Verdict(NamedTuple):
    """``again`` after ``delay_s``, and ``why`` or why not, for people."""

    again: bool
    delay_s: float
    why: str


def verdict(record: JobRecord, cause: AttemptCause, exit_code: int | None, rng: UnitRandom) -> Verdict:
    """After a failed attempt; the counters of ``record`` do not include it yet."""
    policy = record.spec.policy
    if cause is C.SYSTEM:
        return _after_loss(record, policy, rng)
    if cause is C.OUT_OF_MEMORY:
        return _counted("max_oom_retries", policy.max_oom_retries, record.oom_failures, OOM_BACKOFF, rng)
    if policy.retry_exit_codes and exit_code not in policy.retry_exit_codes:
        codes = ", ".join(map(str, policy.retry_exit_codes))
        return Verdict(again=False, delay_s=0.0, why=f"it is retried after exit codes {codes} only")
    return _counted("max_retries", policy.max_retries, record.application_failures, _backoff(policy), rng)


def _after_loss(record: JobRecord, policy: JobPolicy, rng: UnitRandom) -> Verdict:
    """The first time at once: a driver elsewhere is what the user waits for. A driver that takes its node along each
    time pauses for longer and longer.
    """
    if not policy.failover:
        return Verdict(again=False, delay_s=0.0, why="it was submitted without failover")
    lost = record.system_failures
    delay_s = 0.0 if lost == 0 else SYSTEM_BACKOFF.delay_s(lost - 1, rng)
    return Verdict(again=True, delay_s=delay_s, why=f"failover {lost + 1} follows")


def _counted(name: str, budget: int, used: int, backoff: Backoff | None, rng: UnitRandom) -> Verdict:
    if 0 <= budget <= used:
        return Verdict(
            again=False, delay_s=0.0, why=f"{name} is {budget}" if used == 0 else f"all {used} retries are used"
        )
    delay_s = backoff.delay_s(used, rng) if backoff is not None else 0.0
    of = "(of any number)" if budget < 0 else f"of {budget}"
    return Verdict(again=True, delay_s=delay_s, why=f"retry {used + 1} {of} follows")


def _backoff(policy: JobPolicy) -> Backoff | None:
    if policy.backoff_s <= 0:
        return None
    return Backoff(policy.backoff_s, max(policy.backoff_s, policy.max_backoff_s), jitter=JITTER)
