"""The judge of liveness: silence, probes, drains, the brake; and that no order of events breaks its promises."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from linckia.base.limits import BRAKE_MAX_S, NODE_LEASE_TTL_S, SUSPECT_AFTER_S
from linckia.core.nodes.directory import (
    ANSWER_MAX_S,
    RELEASE_GRACE_S,
    Brake,
    Changed,
    Died,
    Effect,
    NodeDirectory,
    Probe,
)
from linckia.core.nodes.states import DeathReason, NodeState

A, B, C, D = b"a", b"b", b"c", b"d"


def directory(*nodes: bytes) -> NodeDirectory:
    made = NodeDirectory()
    for node_id in nodes:
        made.joined(node_id, 0.0)
    return made


def dead(effects: list[Effect]) -> list[bytes]:
    return [effect.node_id for effect in effects if isinstance(effect, Died)]


def judged(nodes: NodeDirectory, now_s: float, outcome: str = "silent") -> list[Effect]:
    """What a tick says, and what comes of the last questions it asks."""
    effects = nodes.tick(now_s)
    for effect in list(effects):
        if isinstance(effect, Probe):
            assert effect.last
            effects += nodes.answered_last(effect.node_id, outcome, "and its port is silent", now_s)
    return effects


@pytest.mark.row("7.7", "S13", "P8")
def test_silence_makes_suspect_and_then_dead() -> None:
    nodes = directory(A, B)
    nodes.heard(B, 20.0)
    assert nodes.tick(SUSPECT_AFTER_S - 0.1) == []
    (changed,) = nodes.tick(SUSPECT_AFTER_S)
    assert isinstance(changed, Changed)
    assert changed.state is NodeState.SUSPECT
    assert nodes.tick(NODE_LEASE_TTL_S - 0.1) == []
    assert nodes.tick(NODE_LEASE_TTL_S) == [Probe(A, last=True)], "asked once more before the verdict"
    assert nodes.tick(NODE_LEASE_TTL_S + 0.1) == [], "and only once"
    (died,) = nodes.answered_last(A, "silent", "and its port is silent", NODE_LEASE_TTL_S + 1.0)
    assert isinstance(died, Died)
    assert died.text == "no heartbeat for 11.0 s (lease 10 s), and its port is silent"


def test_a_node_that_does_not_acknowledge_gets_nothing_new_though_it_is_heard() -> None:
    nodes = directory(A)
    (changed,) = nodes.is_late(A)
    assert isinstance(changed, Changed)
    assert (changed.state, changed.why) == (NodeState.SUSPECT, "what it was asked is not acknowledged for 2 s")
    assert nodes.heard(A, 1.0) == [], "its heartbeats say that it lives, not that it hears"
    assert nodes.tick(NODE_LEASE_TTL_S) == [], "and of that it does not die"
    (changed,) = nodes.answers(A, NODE_LEASE_TTL_S)
    assert isinstance(changed, Changed)
    assert changed.state is NodeState.ALIVE


def test_a_late_node_that_comes_back_on_a_new_session_is_asked_anew() -> None:
    nodes = directory(A)
    nodes.is_late(A)
    (changed,) = nodes.joined(A, 1.0)
    assert isinstance(changed, Changed)
    assert changed.state is NodeState.ALIVE
    assert nodes.answers(A, 1.5) == []


@pytest.mark.row("S13", "S15", "S17")
def test_a_node_that_answers_the_last_question_has_another_lease_to_be_heard() -> None:
    nodes = directory(A)
    assert dead(judged(nodes, NODE_LEASE_TTL_S, "answered")) == []
    end_s = 2 * NODE_LEASE_TTL_S
    assert nodes.next_tick_s(NODE_LEASE_TTL_S) == end_s
    assert nodes.tick(end_s - 0.1) == []
    nodes.heard(A, end_s - 0.1)
    assert nodes.tick(end_s) == []
    assert dead(judged(nodes, end_s - 0.1 + NODE_LEASE_TTL_S, "silent")) == [A], "another silence, another question"


@pytest.mark.row("S13", "S15", "S17")
def test_a_node_that_answers_and_is_never_heard_is_dead_after_two_leases() -> None:
    nodes = directory(A)
    judged(nodes, NODE_LEASE_TTL_S, "answered")
    (died,) = nodes.tick(2 * NODE_LEASE_TTL_S)
    assert isinstance(died, Died)
    assert died.text.endswith("although its port answered")


@pytest.mark.row("S13")
def test_an_answer_to_the_last_question_that_comes_after_a_heartbeat_means_nothing() -> None:
    nodes = directory(A)
    nodes.tick(NODE_LEASE_TTL_S)
    nodes.heard(A, NODE_LEASE_TTL_S + 0.5)
    assert nodes.answered_last(A, "silent", "", NODE_LEASE_TTL_S + 1.0) == []


def test_a_last_question_that_nobody_answers_for_the_node_ends_its_life_too() -> None:
    nodes = directory(A)
    nodes.tick(NODE_LEASE_TTL_S)
    assert nodes.next_tick_s(NODE_LEASE_TTL_S) == NODE_LEASE_TTL_S + ANSWER_MAX_S
    assert dead(nodes.tick(NODE_LEASE_TTL_S + ANSWER_MAX_S)) == [A]


@pytest.mark.row("S19")
def test_the_brake_holds_a_verdict_whose_question_was_asked_before() -> None:
    nodes = directory(A, B, C, D)
    for node_id in (B, C, D):
        nodes.heard(node_id, NODE_LEASE_TTL_S - SUSPECT_AFTER_S + 0.5)
    assert nodes.tick(NODE_LEASE_TTL_S)[-1] == Probe(A, last=True)
    nodes.tick(NODE_LEASE_TTL_S + 0.6)
    assert nodes.braked_since_s is not None
    assert nodes.answered_last(A, "silent", "", NODE_LEASE_TTL_S + 1.0) == []
    for node_id in (B, C, D):
        nodes.heard(node_id, 15.0)
    nodes.tick(15.0 + 1.0)
    for node_id in (B, C, D):
        nodes.heard(node_id, 15.0 + RELEASE_GRACE_S)
    assert nodes.tick(15.0 + RELEASE_GRACE_S) == [Probe(A, last=True)], "asked again when the brake is off"


def test_the_next_tick_is_when_silence_has_a_consequence() -> None:
    nodes = directory(A, B, C)
    assert nodes.next_tick_s(0.0) == SUSPECT_AFTER_S
    for node_id in (B, C):
        nodes.heard(node_id, 1.0)
    nodes.tick(SUSPECT_AFTER_S)
    assert nodes.next_tick_s(SUSPECT_AFTER_S) == 1.0 + SUSPECT_AFTER_S, "the others become suspect"
    for node_id in (B, C):
        nodes.heard(node_id, 9.0)
    assert nodes.next_tick_s(9.0) == NODE_LEASE_TTL_S, "the lease of the suspect ends"
    nodes.drain(B, "PREEMPTION", idle=False, deadline_s=0.5, now_s=9.0)
    assert nodes.next_tick_s(9.0) == 9.5, "a drain deadline"
    assert NodeDirectory().next_tick_s(9.0) == float("inf")


def test_with_the_brake_on_there_is_always_something_to_look_at() -> None:
    nodes = directory(A, B, C)
    nodes.tick(SUSPECT_AFTER_S)
    assert nodes.braked_since_s is not None
    assert nodes.next_tick_s(4.0) == 4.0


@pytest.mark.row("S13")
def test_a_stop_shorter_than_the_lease_changes_nothing_for_good() -> None:
    nodes = directory(A, B)
    nodes.tick(8.0)
    (changed,) = nodes.heard(A, 8.5)
    assert isinstance(changed, Changed)
    assert changed.state is NodeState.ALIVE


@pytest.mark.row("S3")
def test_a_closed_connection_is_looked_into_and_a_refusal_is_death_at_once() -> None:
    nodes = directory(A, B)
    assert nodes.disconnected(A) == [Probe(A)]
    (died,) = nodes.probed(A, "refused", "nobody listens")
    assert isinstance(died, Died)
    assert died.reason is DeathReason.UNEXPECTED_TERMINATION


@pytest.mark.row("S15", "S17")
@pytest.mark.parametrize("outcome", ["answered", "silent"])
def test_what_is_not_certain_waits_for_the_lease(outcome: str) -> None:
    nodes = directory(A, B)
    nodes.disconnected(A)
    assert dead(nodes.probed(A, outcome, "")) == []
    nodes.heard(B, 9.0)
    assert dead(nodes.tick(9.0)) == []
    assert dead(judged(nodes, NODE_LEASE_TTL_S)) == [A]


def test_a_late_probe_of_a_node_that_is_back_means_nothing() -> None:
    nodes = directory(A)
    nodes.disconnected(A)
    nodes.joined(A, 1.0)
    assert nodes.probed(A, "refused", "") == []


@pytest.mark.row("S19")
def test_the_brake_holds_while_most_are_silent() -> None:
    nodes = directory(A, B, C, D)
    nodes.heard(D, 9.5)
    effects = nodes.tick(NODE_LEASE_TTL_S)
    assert dead(effects) == []
    assert any(isinstance(effect, Brake) and effect.on for effect in effects)
    nodes.heard(D, 60.0)
    assert dead(nodes.tick(60.0)) == []
    for node_id in (A, B):
        nodes.heard(node_id, 61.0)
    nodes.heard(D, 61.0)
    assert nodes.braked_since_s is None
    assert dead(nodes.tick(61.0)) == [], "the network heals, for C a moment later"
    for node_id in (A, B, D):
        nodes.heard(node_id, 61.0 + RELEASE_GRACE_S)
    assert dead(nodes.tick(61.0 + RELEASE_GRACE_S - 0.1)) == []
    _, died = judged(nodes, 61.0 + RELEASE_GRACE_S)
    assert isinstance(died, Died)
    assert died.node_id == C
    assert died.text.startswith("no heartbeat for 68.0 s")


@pytest.mark.row("S19")
def test_the_brake_holds_when_just_half_are_heard_again() -> None:
    nodes = directory(A, B, C, D)
    nodes.heard(D, 9.5)
    nodes.tick(NODE_LEASE_TTL_S)
    for node_id in (C, D):
        nodes.heard(node_id, 11.0)
    assert dead(nodes.tick(11.0)) == []
    assert nodes.braked_since_s is not None


@pytest.mark.row("S19")
def test_the_brake_is_pulled_as_soon_as_most_are_suspect() -> None:
    nodes = directory(A, B, C, D)
    nodes.heard(D, SUSPECT_AFTER_S)
    effects = nodes.tick(SUSPECT_AFTER_S)
    assert any(isinstance(effect, Brake) and effect.on for effect in effects)
    assert nodes.braked_since_s == SUSPECT_AFTER_S


@pytest.mark.row("S19")
def test_the_brake_does_not_hold_for_ever_nor_against_certainty() -> None:
    nodes = directory(A, B, C)
    nodes.tick(NODE_LEASE_TTL_S)
    nodes.disconnected(A)
    assert dead(nodes.probed(A, "refused", "")) == [A]
    assert sorted(dead(judged(nodes, NODE_LEASE_TTL_S + BRAKE_MAX_S))) == [B, C]


@pytest.mark.row("7.9", "7.10")
def test_draining() -> None:
    nodes = directory(A)
    effects, why_not = nodes.drain(A, "IDLE_TERMINATION", idle=False, deadline_s=0, now_s=0.0)
    assert effects == []
    assert "not idle" in why_not
    effects, why_not = nodes.drain(A, "PREEMPTION", idle=False, deadline_s=5.0, now_s=0.0)
    assert not why_not
    nodes.heard(A, 4.9)
    assert dead(nodes.tick(4.9)) == []
    (died,) = nodes.tick(5.0)
    assert isinstance(died, Died)
    assert died.reason is DeathReason.AUTOSCALER_DRAIN_PREEMPTED


@pytest.mark.row("7.8")
def test_good_bye_is_expected() -> None:
    nodes = directory(A)
    (died,) = nodes.unregistered(A, "stopped")
    assert isinstance(died, Died)
    assert died.reason is DeathReason.EXPECTED_TERMINATION
    assert nodes.unregistered(A, "stopped") == []


class Machine(RuleBasedStateMachine):
    """Any order of events: who is heard in time never dies of silence, and nobody dies twice."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = NodeDirectory()
        self.now_s = 0.0
        self.heard_s: dict[bytes, float] = {}
        self.died: list[bytes] = []
        self.next_id = 0
        self.asked: dict[bytes, float] = {}  # when the last question was asked

    def take(self, effects: list[Effect], *, by_silence: bool = False) -> None:
        for effect in effects:
            if isinstance(effect, Probe) and effect.last:
                assert self.asked.setdefault(effect.node_id, 0.0) <= self.heard_s[effect.node_id], "asked once"
                self.asked[effect.node_id] = self.now_s
        for node_id in dead(effects):
            assert node_id not in self.died
            self.died.append(node_id)
            silent_s = self.now_s - self.heard_s.pop(node_id)
            assert not by_silence or silent_s >= NODE_LEASE_TTL_S
            self.asked.pop(node_id, None)

    @rule()
    def join(self) -> None:
        node_id = b"%d" % self.next_id
        self.next_id += 1
        self.heard_s[node_id] = self.now_s
        self.take(self.nodes.joined(node_id, self.now_s))

    @rule(pick=st.integers(0, 9))
    def hear(self, pick: int) -> None:
        if pick < len(self.heard_s):
            node_id = sorted(self.heard_s)[pick]
            self.heard_s[node_id] = self.now_s
            self.take(self.nodes.heard(node_id, self.now_s))

    @rule(pick=st.integers(0, 9), is_late=st.booleans())
    def acknowledge(self, pick: int, is_late: bool) -> None:
        """Or not: that alone is nobody's death. Who acknowledges is heard."""
        if pick < len(self.heard_s):
            node_id = sorted(self.heard_s)[pick]
            if is_late:
                assert dead(self.nodes.is_late(node_id)) == []
            else:
                self.heard_s[node_id] = self.now_s
                self.take(self.nodes.answers(node_id, self.now_s))

    @rule(pick=st.integers(0, 9), outcome=st.sampled_from(["refused", "answered", "silent"]))
    def hang_up(self, pick: int, outcome: str) -> None:
        if pick < len(self.heard_s):
            node_id = sorted(self.heard_s)[pick]
            self.take(self.nodes.disconnected(node_id))
            self.take(self.nodes.probed(node_id, outcome, ""))

    @rule(pick=st.integers(0, 9), outcome=st.sampled_from(["refused", "answered", "silent"]))
    def answer(self, pick: int, outcome: str) -> None:
        if pick < len(self.asked):
            node_id = sorted(self.asked)[pick]
            effects = self.nodes.answered_last(node_id, outcome, "", self.now_s)
            assert not effects or self.asked[node_id] > self.heard_s[node_id], "it was heard since"
            self.take(effects, by_silence=True)

    @rule(seconds=st.floats(0.1, 8.0))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.take(self.nodes.tick(self.now_s), by_silence=True)

    @invariant()
    def the_living_are_known(self) -> None:
        assert sorted(self.nodes.nodes) == sorted(self.heard_s)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
