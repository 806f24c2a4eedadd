"""One candidate: what it asks for and when, its deadline, and that no order of answers breaks its rules."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linckia.base import limits
from linckia.core.leadership import commands as c
from linckia.core.leadership.election import Election
from linckia.core.leadership.records import (
    LEADER_KEY,
    HeadFacts,
    Leader,
    claim,
    decode_facts,
    encode_facts,
    fence,
    leader_of,
)
from linckia.core.leadership.states import HeadState
from linckia.core.mvcc.records import KeyValue

TTL_S = 2.0
RENEW_S = TTL_S / limits.LEADER_RENEWALS_PER_TTL
SAFE_S = TTL_S * (1 - limits.LEADER_MARGIN_FRACTION)
S = HeadState
OTHER = Leader(7, 70, b"other")


def candidate() -> Election:
    return Election(b"me", Random(1), TTL_S)


def standby(leader: Leader | None = OTHER, now_s: float = 0.0) -> Election:
    """With lease 1, and (unless nobody leads) outrun."""
    head = candidate()
    assert head.start(now_s) == [c.GrantLease(TTL_S, now_s)]
    assert head.granted(1, TTL_S, now_s, now_s) == [c.Register(1), c.Campaign(1)]
    head.registered(1)
    if leader is not None:
        assert head.campaigned(1, leader, leader.epoch + 1, now_s) == []
        assert head.state is S.STANDBY
    return head


def leading(now_s: float = 0.0) -> Election:
    """Lease 1, epoch 10."""
    head = standby(None, now_s)
    assert head.campaigned(1, Leader(10, 1, b"me"), 10, now_s) == [c.Elected(10, 10)]
    assert (head.state, head.epoch) == (S.LEADING, 10)
    return head


def kinds(commands: list[c.Command]) -> list[type]:
    return [type(command) for command in commands]


# --- the way to a term ------------------------------------------------------------------------------------------------


def test_an_empty_store_is_led_after_one_grant_and_one_transaction() -> None:
    head = leading(5.0)
    assert head.is_serving(5.0)
    assert head.wake_s() == 5.0 + RENEW_S


def test_who_is_outrun_waits_and_asks_when_the_leader_key_vanishes() -> None:
    head = standby()
    assert head.observed(None, 9, 1.0) == [c.Campaign(1)]
    assert head.campaigned(1, Leader(10, 1, b"me"), 10, 1.0) == [c.Elected(10, 10)]


def test_older_news_of_the_leader_key_does_not_count() -> None:
    head = leading()
    assert head.observed(None, 9, 0.1) == [], "the end of the leader before"
    assert head.observed(Leader(10, 1, b"me"), 10, 0.1) == []
    assert head.is_serving(0.1)
    assert c.Deposed in kinds(head.observed(None, 11, 0.2))


def test_a_term_is_announced_once_though_the_watch_tells_it_before_the_answer() -> None:
    head = standby(None)
    assert head.observed(Leader(10, 1, b"me"), 10, 0.0) == [c.Elected(10, 10)]
    assert head.campaigned(1, Leader(10, 1, b"me"), 10, 0.0) == []


@pytest.mark.parametrize("found", [None, OTHER, Leader(10, 1, b"me")], ids=["nobody", "other", "me"])
def test_an_unknown_outcome_is_looked_up(found: Leader | None) -> None:
    head = standby(None)
    assert head.campaign_failed(1, 0.0, is_over=False) == [c.Look()]
    commands = head.observed(found, 12, 0.01)
    if found is None:
        assert commands == [], "not at once again"
        wake_s = head.wake_s()
        assert wake_s is not None
        assert wake_s <= 0.01 + limits.ELECTION_RETRY_CAP_S
        assert head.tick(wake_s) == [c.Campaign(1)]
    elif found is OTHER:
        assert (commands, head.state) == ([], S.STANDBY)
    else:
        assert commands == [c.Elected(10, 12)]


def test_a_campaign_that_is_done_late_is_won_when_it_is_seen() -> None:
    head = standby(None)
    head.campaign_failed(1, 0.0, is_over=False)
    head.observed(OTHER, 12, 0.0)
    head.observed(None, 13, 0.1)
    assert head.state is S.CAMPAIGNING
    assert head.campaigned(1, Leader(14, 1, b"me"), 15, 0.1) == [c.Elected(14, 15)], "the first one had won at 14"


def test_a_campaign_of_a_former_lease_changes_nothing() -> None:
    head = standby(None)
    head.refused(1, 0.1, is_over=True)
    head.granted(2, TTL_S, 0.1, 0.1)
    assert head.campaigned(1, Leader(10, 1, b"me"), 10, 0.2) == []
    assert head.campaign_failed(1, 0.2, is_over=False) == []
    assert head.state is S.CAMPAIGNING


def test_without_a_store_it_tries_again_ever_more_seldom() -> None:
    head = candidate()
    head.start(0.0)
    now_s, waits = 0.0, []
    for _ in range(8):
        head.grant_failed(now_s)
        began_s = now_s
        while c.GrantLease not in kinds(head.tick(now_s)):
            wake_s = head.wake_s()
            assert wake_s is not None
            now_s = max(now_s, wake_s)
        waits.append(now_s - began_s)
    assert waits[0] <= limits.ELECTION_RETRY_FIRST_S
    assert limits.ELECTION_RETRY_CAP_S / 2 <= waits[-1] <= limits.ELECTION_RETRY_CAP_S


def test_it_registers_until_it_is_registered_one_at_a_time() -> None:
    head = leading()
    head.unregistered()
    assert head.tick(RENEW_S) == [c.Renew(1, RENEW_S), c.Register(1)]
    assert head.tick(1.0) == [c.Renew(1, 1.0)], "that one is on its way"
    assert head.register_failed(1, 1.1, is_over=False) == []
    assert head.tick(1.3) == [c.Renew(1, 1.3), c.Register(1)]
    assert c.Deposed in kinds(head.register_failed(1, 1.3, is_over=True))


# --- the deadline -----------------------------------------------------------------------------------------------------


@pytest.mark.row("S14", "S28")
def test_the_deadline_counts_from_the_sending_of_what_was_granted_last() -> None:
    head = leading()
    assert head.tick(RENEW_S) == [c.Renew(1, RENEW_S)]
    assert head.renewed(1, RENEW_S, 1.5) == []
    assert head.is_serving(RENEW_S + SAFE_S - 0.001)
    assert not head.is_serving(RENEW_S + SAFE_S)


@pytest.mark.row("S14")
def test_past_the_deadline_it_does_not_serve_and_a_late_renewal_goes_on_with_the_same_epoch() -> None:
    head = leading()
    assert not head.is_serving(SAFE_S), "whether a timer has run or not"
    assert head.tick(SAFE_S)[0] == c.Paused()
    assert head.state is S.PAUSED
    assert head.renewed(1, 0.05, SAFE_S + 0.1) == []
    assert head.state is S.PAUSED, "what was sent too early proves nothing for now"
    assert head.renewed(1, SAFE_S - 0.1, SAFE_S + 0.2) == [c.Resumed()], "the same term"
    assert (head.state, head.epoch) == (S.LEADING, 10)
    assert head.is_serving(SAFE_S + 0.2)


@pytest.mark.row("S14")
def test_a_pause_lasts_until_the_store_says_what_became_of_the_term() -> None:
    head = leading()
    head.tick(SAFE_S)
    asked = head.tick(3600.0)
    assert c.Renew(1, 3600.0) in asked
    assert (head.state, head.epoch) == (S.PAUSED, 10)
    assert not head.is_serving(3600.0)
    assert kinds(head.refused(1, 3600.1, is_over=True)) == [c.Deposed, c.GrantLease]
    assert (head.state, head.lease, head.epoch) == (S.STARTING, 0, 0)


@pytest.mark.row("S14")
def test_an_hour_without_a_store_costs_no_term() -> None:
    head = leading()
    head.tick(SAFE_S)
    head.tick(3600.0)
    assert head.renewed(1, 3600.0, 3600.1) == [c.Resumed()]
    assert (head.is_serving(3600.1), head.epoch) == (True, 10)


@pytest.mark.row("S14")
def test_a_stopped_leader_is_deposed_when_it_goes_on_and_its_lease_is_over() -> None:
    head = leading()
    later_s = SAFE_S + 0.5
    assert c.Renew(1, later_s) in head.tick(later_s)
    assert head.renewed(1, 0.67, later_s) == [c.Resumed()], "an answer from before the stop, good for a moment"
    assert not head.is_serving(later_s + 0.5)
    deposed, grant = head.refused(1, later_s, is_over=True)
    assert isinstance(deposed, c.Deposed)
    assert "lease has ended" in deposed.why
    assert isinstance(grant, c.GrantLease)


def test_a_term_won_too_late_begins_with_the_next_renewal() -> None:
    head = standby(None)
    assert head.campaigned(1, Leader(10, 1, b"me"), 10, SAFE_S + 0.1) == []
    assert not head.is_serving(SAFE_S + 0.1)
    assert head.renewed(1, SAFE_S, SAFE_S + 0.2) == [c.Elected(10, 10)]


def test_a_store_that_does_not_answer_is_no_reason_to_stop_before_the_deadline() -> None:
    head = leading()
    for _ in range(3):
        assert head.refused(1, 1.0, is_over=False) == []
    assert head.is_serving(1.0)


@pytest.mark.parametrize("found", [None, Leader(11, 70, b"other"), Leader(11, 1, b"me")])
def test_a_leader_key_that_is_not_of_its_term_deposes(found: Leader | None) -> None:
    head = leading()
    commands = head.observed(found, 11, 0.1)
    assert kinds(commands) == [c.Deposed, c.Release, c.GrantLease]
    assert not head.is_serving(0.1)


# --- leaders that are gone --------------------------------------------------------------------------------------------


@pytest.mark.row("S4")
def test_a_leader_that_is_gone_is_evicted_and_followed_in_one_breath() -> None:
    head = standby()
    assert head.leader_gone(OTHER.epoch, 1.0) == [c.Evict(OTHER.lease), c.Campaign(1)]
    assert head.leader_gone(OTHER.epoch, 1.0) == [], "again"
    assert head.campaigned(1, Leader(12, 1, b"me"), 12, 1.0) == [c.Elected(12, 12)]


def test_an_eviction_that_did_not_work_is_tried_again_after_a_while() -> None:
    head = standby()
    head.tick(1.0)
    head.leader_gone(OTHER.epoch, 1.0)
    assert head.campaigned(1, OTHER, 9, 1.0) == []
    wake_s = head.wake_s()
    assert wake_s is not None
    assert 1.0 < wake_s < 1.0 + limits.ELECTION_RETRY_CAP_S
    assert head.tick(wake_s) == [c.Evict(OTHER.lease), c.Campaign(1)]


def test_only_the_named_term_is_evicted() -> None:
    head = standby()
    assert head.leader_gone(OTHER.epoch - 1, 1.0) == []
    assert head.leader_gone(99, 1.0) == [c.Look()], "perhaps there is a newer one"
    assert head.observed(OTHER, 20, 1.0) == []
    assert head.observed(Leader(99, 5, b"third"), 100, 1.0) == [c.Evict(5), c.Campaign(1)]
    leader = leading()
    assert leader.leader_gone(10, 0.1) == [], "it knows better"
    assert leader.is_serving(0.1)


def test_a_predecessor_is_evicted_at_once() -> None:
    head = standby(None)
    gone = Leader(7, 70, b"me", gone=True)
    assert head.campaigned(1, gone, 9, 0.0) == [c.Evict(70), c.Campaign(1)]


def test_a_leader_key_of_its_own_former_lease_is_evicted() -> None:
    head = leading()
    head.observed(None, 11, 3.0)
    head.observed(Leader(12, 1, b"me"), 12, 3.5)  # a campaign of then that was carried out late
    assert head.granted(2, TTL_S, 4.0, 4.0) == [c.Register(2), c.Evict(1), c.Campaign(2)], "as far as it knows"


# --- the end ----------------------------------------------------------------------------------------------------------


def test_stepping_down_leaves_the_next_term_to_others_for_a_moment() -> None:
    head = leading()
    assert head.step_down(0.1, "planned") == [c.Deposed("planned"), c.Release(1)]
    assert not head.is_serving(0.1)
    assert head.step_down(0.1, "again") == []
    assert head.released(1, 0.2) == [c.GrantLease(TTL_S, 0.2)]
    assert head.granted(2, TTL_S, 0.2, 0.2) == [c.Register(2)]
    assert head.observed(None, 11, 0.2) == [], "others first"
    rested_s = 0.2 + limits.LEADER_REST_S
    assert c.Campaign(2) in head.tick(rested_s), "nobody else was there"


def test_who_rests_takes_over_from_one_that_is_gone() -> None:
    head = leading()
    head.step_down(0.1, "planned")
    head.released(1, 0.2)
    head.granted(2, TTL_S, 0.2, 0.2)
    head.observed(OTHER, 12, 0.3)
    assert head.leader_gone(OTHER.epoch, 0.3) == [c.Evict(OTHER.lease), c.Campaign(2)]


def test_closing_gives_up_the_lease_and_nothing_follows() -> None:
    head = leading()
    assert head.close() == [c.Release(1)]
    assert head.close() == []
    assert head.wake_s() is None
    assert not head.is_serving(0.0)
    assert head.tick(100.0) == []
    starting = candidate()
    starting.start(0.0)
    assert starting.close() == []
    assert starting.granted(3, TTL_S, 0.0, 0.1) == [c.Release(3)], "a lease that comes late is given back"


# --- records ----------------------------------------------------------------------------------------------------------


def test_facts_survive_and_what_is_not_readable_is_nobody() -> None:
    facts = HeadFacts(b"id", "host", 1234, 5, 6, "boot/1", "0.1")
    assert decode_facts(encode_facts(facts)) == facts
    assert decode_facts(b"\xc1") is None
    assert leader_of(KeyValue(LEADER_KEY, b"?", 4, 5, 2, 9)) == Leader(4, 9, b"")


def test_the_fence_of_nobody_never_holds() -> None:
    assert fence(0).operand == -1
    assert fence(12).target == "mod_revision"
    assert claim(0, b"", 0).compare[0].operand == -1
    assert claim(12, b"", 0).compare[0].target == "create_revision", "of the term, whoever claimed within it"
    assert fence(12).operand == 12


# --- any order --------------------------------------------------------------------------------------------------------

LEADERS: list[Leader | None] = [None, OTHER, Leader(9, 1, b"me"), Leader(11, 2, b"me"), Leader(8, 80, b"x", gone=True)]
LEASES = st.sampled_from([1, 2, 3])
STEPS: Any = st.one_of(
    st.tuples(st.just("tick")),
    st.tuples(st.just("granted"), LEASES),
    st.tuples(st.just("grant_failed")),
    st.tuples(st.just("renewed"), LEASES, st.floats(0, 3)),
    st.tuples(st.just("refused"), LEASES, st.booleans()),
    st.tuples(st.just("observed"), st.sampled_from(LEADERS), st.integers(1, 3)),
    st.tuples(st.just("campaigned"), LEASES, st.sampled_from(LEADERS), st.integers(0, 3)),
    st.tuples(st.just("campaign_failed"), LEASES, st.booleans()),
    st.tuples(st.just("register_failed"), LEASES, st.booleans()),
    st.tuples(st.just("look_failed")),
    st.tuples(st.just("released"), LEASES),
    st.tuples(st.just("leader_gone"), st.sampled_from([7, 8, 9, 20])),
    st.tuples(st.just("step_down")),
    st.tuples(st.just("close")),
)


def apply(head: Election, step: tuple[Any, ...], now_s: float, revision: int) -> list[c.Command]:
    match step:
        case ("granted", lease):
            return head.granted(lease, TTL_S, now_s, now_s) if head._is_granting else []
        case ("renewed", lease, ago_s):
            return head.renewed(lease, now_s - ago_s, now_s)
        case ("refused" | "campaign_failed" | "register_failed" as name, lease, is_over):
            result: list[c.Command] = getattr(head, name)(lease, now_s, is_over=is_over)
            return result
        case ("observed", leader, _):
            return head.observed(leader, revision, now_s)
        case ("campaigned", lease, leader, _):
            return head.campaigned(lease, leader, revision, now_s)
        case ("released", lease):
            return head.released(lease, now_s)
        case ("leader_gone", epoch):
            return head.leader_gone(epoch, now_s)
        case ("step_down",):
            return head.step_down(now_s, "asked")
        case ("close",):
            return head.close()
        case (name,):
            result = getattr(head, name)(now_s)
            return result
    raise AssertionError(step)


@settings(max_examples=300)
@given(st.lists(st.tuples(STEPS, st.floats(0, 1.5)), max_size=40))
def test_no_order_of_answers_breaks_a_rule(steps: list[tuple[tuple[Any, ...], float]]) -> None:
    head = candidate()
    now_s, revision, is_told = 10.0, 1, False
    head.start(now_s)
    deadline_s = head.deadline_s
    for step, wait_s in steps:
        now_s += wait_s
        revision += step[-1] if step[0] in ("observed", "campaigned") else 0
        was_closed = head.state is S.CLOSED
        commands = apply(head, step, now_s, revision)
        wake_s = head.wake_s()
        if wake_s is not None and wake_s <= now_s:
            commands += head.tick(now_s)
            wake_s = head.wake_s()
        assert (wake_s is None) is (head.state is S.CLOSED)
        assert wake_s is None or wake_s > now_s, f"it spins in {head.state}"
        for command in commands:
            assert not was_closed or isinstance(command, c.Release), step
            if isinstance(command, c.Elected | c.Deposed):
                assert isinstance(command, c.Elected) is not is_told, "they alternate"
                is_told = not is_told
        if head.is_serving(now_s):
            assert is_told
            assert head.epoch
            assert head.lease
        assert head.deadline_s >= deadline_s or head.state is not S.LEADING
        deadline_s = head.deadline_s
