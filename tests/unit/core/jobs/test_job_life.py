"""Submitted jobs as values: what follows each attempt, what a reader may believe, what is written down."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from linckia.base.limits import JOB_ATTEMPTS_KEPT
from linckia.core.jobs import life
from linckia.core.jobs.life import C, End, Place
from linckia.core.machine import IllegalTransition
from linckia.model.jobs import JobPolicy, JobRecord, JobSpec, decode_job, encode_job

HERE, THERE = Place("a" * 56, "10.0.0.1"), Place("b" * 56, "10.0.0.2")


class Half:
    """Chance that always says one half."""

    def random(self) -> float:
        return 0.5


RNG = Half()


def job(**policy: Any) -> JobRecord:
    return JobRecord(JobSpec("j1", "python train.py", policy=JobPolicy(**policy), submitted_s=100.0))


def run(record: JobRecord, end: End, place: Place = HERE, now_s: float = 200.0) -> JobRecord:
    return life.ended(life.started(life.begin(record, place, now_s), 42), end, now_s + 1, RNG)


def exited(code: int) -> End:
    return End(C.APPLICATION, f"the entrypoint exited with code {code}", code, 17)


LOST = End(C.SYSTEM, "its node died")
OOM = End(C.OUT_OF_MEMORY, "it was killed for want of memory", -9)


@pytest.mark.row("8.33")
def test_a_job_that_succeeds() -> None:
    record = run(job(), End(C.SUCCEEDED, "the entrypoint exited with code 0", 0, 5))
    assert (record.state, record.error_type, record.end_s) == ("SUCCEEDED", "", 201.0)
    (attempt,) = record.attempts
    assert (attempt.number, attempt.pid, attempt.exit_code, attempt.cause) == (1, 42, 0, "succeeded")
    assert (attempt.start_s, attempt.end_s, attempt.log, attempt.log_bytes) == (200.0, 201.0, "job-driver-j1-1.log", 5)


@pytest.mark.row("8.33")
def test_without_a_budget_a_failure_of_the_application_is_final() -> None:
    record = run(job(), replace_lines(exited(3), "boom"))
    assert (record.state, record.error_type) == ("FAILED", "JOB_ENTRYPOINT_COMMAND_ERROR")
    assert record.message == (
        "attempt 1 on node aaaaaaaaaaaa (10.0.0.1) failed: the entrypoint exited with code 3 (the application's "
        "failure); max_retries is 0\nlast lines of its log:\nboom"
    )


def replace_lines(end: End, lines: str) -> End:
    return end._replace(last_lines=lines)


def test_the_budget_of_the_application_is_spent_with_growing_pauses() -> None:
    record, pauses = job(max_retries=3, backoff_s=2.0, max_backoff_s=5.0), []
    for _ in range(3):
        record = run(record, exited(1))
        assert record.state == "PENDING"
        pauses.append(record.not_before_s - 201.0)
    assert pauses == [1.5, 3.0, 3.75]  # 2, 4, 5 s, shortened by a quarter
    record = run(record, exited(1))
    assert record.state == "FAILED"
    assert "all 3 retries are used" in record.message
    assert record.application_failures == 4


def test_only_the_exit_codes_that_were_named_are_retried() -> None:
    filtered = job(max_retries=5, retry_exit_codes=[1, 75])
    assert run(filtered, exited(75)).state == "PENDING"
    final = run(filtered, exited(2))
    assert final.state == "FAILED"
    assert "after exit codes 1, 75 only" in final.message


def test_a_pause_of_zero_is_none() -> None:
    assert run(job(max_retries=1, backoff_s=0), exited(1)).not_before_s == 201.0


@pytest.mark.row("P5")
def test_a_lost_node_costs_no_retry_and_the_first_time_no_pause() -> None:
    record = run(job(), LOST)
    assert (record.state, record.not_before_s, record.system_failures) == ("PENDING", 201.0, 1)
    assert "the system's failure" in record.message
    assert run(record, LOST).not_before_s == 201.75
    again = run(run(record, LOST), exited(1), THERE)
    assert again.state == "FAILED"
    assert [attempt.cause for attempt in again.attempts] == ["system", "system", "application"]
    assert again.attempts[-1].node_ip == "10.0.0.2"


@pytest.mark.row("P5")
def test_without_failover_a_lost_driver_is_the_end() -> None:
    record = run(job(max_retries=5, failover=False), LOST)
    assert (record.state, record.error_type) == ("FAILED", "JOB_SUPERVISOR_ACTOR_DIED")
    assert "its node died (the system's failure, not the application's); it was submitted without failover" in (
        record.message
    )


def test_memory_has_a_budget_of_its_own() -> None:
    record = run(job(max_retries=0), OOM)
    assert (record.state, record.not_before_s) == ("PENDING", 201.75)
    assert run(job(max_retries=9, max_oom_retries=0), OOM).state == "FAILED"


def test_an_attempt_can_be_lost_before_its_process_is_known() -> None:
    begun = life.begin(job(failover=False), HERE, 200.0)
    assert begun.state == "PENDING"
    assert begun.running is not None
    assert life.ended(begun, LOST, 201.0, RNG).state == "FAILED"


@pytest.mark.row("8.12", "8.33")
def test_stopped_at_any_time_and_never_after_the_end() -> None:
    assert life.stopped(job(), 5.0).state == "STOPPED"
    running = life.started(life.begin(job(), HERE, 1.0), 7)
    assert life.stopped(running, 5.0).attempts[-1].cause == "stopped"
    over = life.ended(running, End(C.STOPPED, "killed by SIGTERM", -15, 3), 2.0, RNG)
    assert (over.state, over.attempts[-1].log_bytes) == ("STOPPED", 3)
    with pytest.raises(IllegalTransition, match="the state is final"):
        life.stopped(over, 6.0)
    with pytest.raises(IllegalTransition, match="the state is final"):
        life.refused(over, "no", life.START_TIMEOUT, 6.0)


@pytest.mark.row("8.33")
def test_what_cannot_be_started_has_failed() -> None:
    record = life.refused(life.begin(job(), HERE, 1.0), "no such package", life.ENVIRONMENT_FAILED, 2.0)
    assert (record.state, record.error_type) == ("FAILED", "RUNTIME_ENV_SETUP_FAILURE")
    assert record.attempts[-1].cause == "application"


@pytest.mark.row("P5")
@pytest.mark.parametrize(
    ("supervisor", "death", "attempts", "age_s", "state", "says"),
    [
        ("ALIVE", "", 1, 5.0, "RUNNING", "runs on"),
        ("RESTARTING", "", 1, 5.0, "PENDING", "was lost with its supervisor, which is started again"),
        ("", "", 1, 5.0, "FAILED", "its supervisor is dead, after attempt 1 on node"),
        ("", "killed", 1, 5.0, "FAILED", "(10.0.0.1): killed (the system's failure"),
        ("", "", 0, 5.0, "PENDING", ""),
        ("", "its class is gone", 0, 5.0, "FAILED", "its supervisor is dead: its class is gone"),
        ("", "", 0, 61.0, "FAILED", "submit it again"),
        ("PENDING_CREATION", "", 0, 899.0, "PENDING", ""),
        ("PENDING_CREATION", "", 0, 901.0, "FAILED", "no node had room for its driver within 900 s"),
        ("ALIVE", "", 0, 901.0, "PENDING", ""),
    ],
)
def test_no_reader_sees_running_for_ever(
    supervisor: str, death: str, attempts: int, age_s: float, state: str, says: str
) -> None:
    record = job()
    if attempts:
        record = life.started(life.begin(record, HERE, 101.0), 7)
    seen = life.seen(record, supervisor, death, 100.0 + age_s, 900.0)
    assert seen.state == state
    assert says in seen.message
    assert life.seen(seen, "", "", 1e9, 900.0).state in (state, "FAILED")


@given(st.lists(st.sampled_from([exited(1), LOST, OOM]), max_size=80), st.integers(0, 3))
def test_attempts_are_numbered_bounded_and_survive_writing(ends: list[End], budget: int) -> None:
    record, chance = job(max_retries=budget), random.Random(1)
    for count, end in enumerate(ends, 1):
        record = life.ended(life.started(life.begin(record, HERE, 1.0), 2), end, 3.0, chance)
        assert record.attempts[-1].number == count
        if life.is_over(record):
            break
    assert len(record.attempts) <= JOB_ATTEMPTS_KEPT
    assert record.application_failures <= budget + 1
    assert decode_job(encode_job(record)) == record
    assert record.running is None


def test_a_record_of_a_newer_version_can_be_read() -> None:
    fields = msgspec.msgpack.decode(encode_job(job()))
    assert decode_job(msgspec.msgpack.encode({**fields, "new": 1})) == job()
    assert replace(job(), message="x") != job()
