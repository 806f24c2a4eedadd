"""Schedules, histories, availability and verdicts of `linckia chaos`: pure, with histories that are known to be bad."""

from __future__ import annotations

from itertools import pairwise

import pytest

from linckia.testing.chaos import checking, questions, reporting, schedule, stale
from linckia.testing.chaos.availability import Successes, service, spread
from linckia.testing.chaos.history import Deed, Execution, Op, Outcome, read_ledger, read_ops
from linckia.testing.chaos.results import Result, Seen, summarise
from linckia.testing.chaos.schedule import Plan

S = 1_000_000_000
MIXED = Plan(7, 60.0, 3.0, schedule.kinds_of("head,raylet,worker,etcd,stop", with_etcd=True))


def op(kind: str, number: int, began_s: float, took_s: float, outcome: Outcome = "ok", value: str = "") -> Op:
    began = round(began_s * S)
    return Op(kind, number, began, began + round(took_s * S), outcome, value)


def ran(kind: str, number: int, pid: int = 1, at_s: float = 0.0) -> Execution:
    return Execution(kind, number, pid, round(at_s * S))


# --- schedules --------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert schedule.draw(MIXED) == schedule.draw(MIXED)
    other = Plan(8, 60.0, 3.0, MIXED.kinds)
    assert schedule.draw(other) != schedule.draw(MIXED)


def test_a_schedule_is_quiet_first_and_its_faults_do_not_overlap() -> None:
    for seed in range(50):
        faults = schedule.draw(Plan(seed, 120.0, 3.0, MIXED.kinds))
        assert faults[0].at_s >= 3.0
        assert all(fault.at_s < 120.0 for fault in faults)
        for one, next_one in pairwise(faults):
            assert one.at_s + one.lasts_s <= next_one.at_s + 0.002


def test_kinds_take_turns() -> None:
    faults = schedule.draw(Plan(1, 1000.0, 1.0, ("head", "worker", "raylet")))
    counts = [sum(fault.kind == kind for fault in faults) for kind in ("head", "worker", "raylet")]
    assert max(counts) - min(counts) <= 1


def test_what_lasts_can_be_given() -> None:
    faults = schedule.draw(Plan(1, 60.0, 6.0, ("stop-head",), lasts_s=3.0))
    assert {fault.lasts_s for fault in faults} == {3.0}


def test_faults_by_words() -> None:
    assert schedule.kinds_of("head,stop", with_etcd=False) == ("head", "stop-head", "stop-raylet", "stop-worker")
    with pytest.raises(ValueError, match="no fault 'heads'.*head, raylet"):
        schedule.kinds_of("heads", with_etcd=True)
    with pytest.raises(ValueError, match="needs a cluster on etcd"):
        schedule.kinds_of("etcd", with_etcd=False)


def test_a_load_by_words() -> None:
    assert schedule.classes_of("") == (), "all"
    assert schedule.classes_of("call, task,call") == ("call", "task")
    with pytest.raises(ValueError, match="no load 'calls'.*task, tasks, call"):
        schedule.classes_of("task,calls")


# --- lost and duplicated ----------------------------------------------------------------------------------------------


def test_what_was_acknowledged_and_did_not_happen_is_lost() -> None:
    ops = [op("call", 1, 0, 0.01), op("call", 2, 1, 0.01)]
    assert checking.tally(ops, [ran("call", 1)], [], work_ended=True)["call"].lost == 1
    assert checking.tally(ops, [ran("call", 1), ran("call", 2)], [], work_ended=True)["call"].lost == 0


def test_a_wrong_answer_and_none_at_all_are_lost_a_failure_is_not() -> None:
    ops = [op("object", 1, 0, 1, "wrong", "x"), op("object", 2, 0, 60, "never"), op("object", 3, 0, 1, "failed", "e")]
    found = checking.tally(ops, [], [], work_ended=False)["object"]
    assert (found.lost, found.failed, found.count) == (2, 1, 3)
    assert "x" in found.errors


def test_missing_at_the_end_is_lost() -> None:
    assert checking.tally([op("group", 1, 0, 1)], [], ["group 1"], work_ended=False)["group"].lost == 1


@pytest.mark.parametrize(("kind", "ended", "duplicated"), [("call", True, 1), ("task", True, 0), ("task", False, 1)])
def test_running_again_is_a_duplicate_unless_retries_explain_it(kind: str, ended: bool, duplicated: int) -> None:
    found = checking.tally([op(kind, 1, 0, 1)], [ran(kind, 1), ran(kind, 1, 2)], [], work_ended=ended)[kind]
    assert (found.duplicated, found.ran_again) == (duplicated, 1 - duplicated)


def test_a_failed_call_that_ran_twice_is_a_duplicate_too() -> None:
    found = checking.tally([op("call", 1, 0, 1, "failed")], [ran("call", 1), ran("call", 1)], [], work_ended=True)
    assert found["call"].duplicated == 1


def test_each_part_of_a_batch_counts() -> None:
    parts = [ran("part", 6 + part) for part in range(checking.PARTS)]
    assert checking.tally([op("tasks", 1, 0, 1)], parts, [], work_ended=False)["tasks"].lost == 0
    assert checking.tally([op("tasks", 1, 0, 1)], parts[1:], [], work_ended=False)["tasks"].lost == 1
    assert checking.tally([op("tasks", 1, 0, 1)], [*parts, parts[0]], [], work_ended=False)["tasks"].duplicated == 1


def test_counter_answers_in_order() -> None:
    good = [op("call", 1, 0, 1, value="9 1"), op("call", 2, 0.5, 2, value="9 2"), op("call", 3, 3, 1, value="9 3")]
    assert checking.out_of_order(good) == 0
    overlap = [op("call", 1, 0, 1, value="9 2"), op("call", 2, 0.5, 1, value="9 1")]
    assert checking.out_of_order(overlap) == 0, "they overlap: either may be first"
    stale = [op("call", 1, 0, 1, value="9 2"), op("call", 2, 2, 1, value="9 1")]
    assert checking.out_of_order(stale) == 1
    twice = [op("call", 1, 0, 1, value="9 1"), op("call", 2, 0, 1, value="9 1")]
    assert checking.out_of_order(twice) == 1
    restarted = [op("call", 1, 0, 1, value="9 5"), op("call", 2, 2, 1, value="10 1")]
    assert checking.out_of_order(restarted) == 0, "another process begins anew"


def test_retry_starts() -> None:
    ledger = [ran("part", 1, 50, 1.0), ran("part", 1, 51, 1.3), ran("part", 2, 50, 0.1), ran("part", 3, 52, 1.0)]
    assert checking.retry_starts_s(ledger, [(50, round(1.2 * S))]) == pytest.approx([0.1])
    assert checking.retry_starts_s(ledger, [(52, round(1.2 * S))]) == []


# --- availability -----------------------------------------------------------------------------------------------------


def test_one_late_answer_costs_time_though_few_operations() -> None:
    ops = [op("task", n, n * 0.01, 0.005) for n in range(100)]
    ops.append(op("task", 100, 1.0, 1.05))
    ops += [op("task", n, n * 0.01, 0.005) for n in range(210, 300)]
    found = service(ops, 0, 3 * S)
    assert found.within == pytest.approx(190 / 191)
    assert found.time == pytest.approx(2 / 3, abs=0.001)
    assert found.slots == pytest.approx(21 / 30, abs=0.04)
    assert found.longest_s == pytest.approx(1.055, abs=0.001)


def test_a_failed_operation_was_not_available() -> None:
    found = service([op("task", 1, 0, 0.5, "failed"), op("task", 2, 0.5, 0.01)], 0, S)
    assert found.time == pytest.approx(0.5)


def test_pauses_belong_to_the_fault_that_they_follow() -> None:
    track = Successes([op("task", n, began_s, 0.0) for n, began_s in enumerate((0.0, 1.0, 1.1, 3.0))])
    assert track.longest_pause_s(round(0.5 * S), round(1.05 * S)) == pytest.approx(1.0)
    assert track.longest_pause_s(round(1.05 * S), 2 * S) == pytest.approx(0.1)
    assert track.longest_pause_s(2 * S, round(2.5 * S)) == pytest.approx(1.9), "no success in between"
    assert track.recovery_s(round(1.05 * S)) == pytest.approx(0.05)
    assert track.recovery_s(4 * S) is None


def test_spread() -> None:
    found = spread([float(n) for n in range(1, 101)])
    assert (found.min, found.median, found.p99, found.max) == (1, 50, 99, 100)
    assert spread([]).text() == "-"


# --- files, reports, verdicts -----------------------------------------------------------------------------------------


def test_lines_are_read_back_and_a_cut_one_is_passed_over() -> None:
    ops = [op("task", 1, 0, 1), op("call", 2, 0, 1, "failed", "Some Error: text")]
    assert read_ops([each.line() for each in ops] + ["task 3 0"]) == ops
    assert read_ledger([ran("task", 1).line(), "task 2 1"]) == [ran("task", 1)]


def result(ops: list[Op], ledger: list[Execution], *, epochs: tuple[int, ...] = (1, 2), quiet_s: float = 0.5) -> Result:
    facts = {
        "store": "etcd",
        "kinds": ["head"],
        "heads": 3,
        "nodes": 2,
        "cpus": 3,
        "seed": 7,
        "for_s": 9.0,
        "every_s": 3.0,
        "cores": 2,
        "load average": "1.0",
        "version": "0",
        "command": "linckia chaos",
    }
    seen = Seen([Deed("head", 5 * S, "epoch 1", 99)], [], list(epochs), 0, [], quiet_s)
    return summarise(facts, ops, ledger, seen, (0, 9 * S))


def all_classes() -> tuple[list[Op], list[Execution]]:
    ops = [
        op(kind, n, n * 0.1, 0.01, value=f"9 {n}" if kind == "call" else "")
        for kind in ("task", "call", "retried", "creation", "find", "group")
        for n in range(1, 90)
    ]
    return ops, [ran(each.kind, each.number) for each in ops]


def test_a_good_run() -> None:
    found = result(*all_classes())
    assert found.good
    assert "**good: 534 operations, 1 faults, lost 0, duplicated 0" in reporting.as_markdown(found)
    assert '"good": true' in reporting.as_json(found)
    for number in (2, 4, 5, 6, 7, 13):
        assert questions.answer(number, "etcd", found).verdict in ("kept", "kept, slower"), number


def test_the_report_says_which_faults_the_time_was_lost_to() -> None:
    ops, ledger = all_classes()
    late = [op("creation", 900, 5.5, 3.0), op("creation", 901, 6.0, 1.5), op("find", 902, 8.5, 1.05)]
    found = result([*ops, *late], [*ledger, *(ran(each.kind, each.number) for each in late)])
    assert found.faults["head"].lost_s["creation"] == pytest.approx(2.0), "from 6.5 to 8.5 s; the other one is inside"
    assert found.faults["head"].lost_s["task"] == 0.0
    report = reporting.as_markdown(found)
    assert "* creation: 2.0 s: head 2.0" in report
    assert "* find" not in report.partition("Time lost")[2].partition("##")[0], "what is too little is not named"


def test_a_run_whose_faults_found_nobody() -> None:
    seen = Seen([], ["raylet at 3 s: there was nobody to hit"], [1], 0, [], 0.5)
    found = summarise(result(*all_classes()).facts, *all_classes(), seen, (0, 9 * S))
    assert found.good
    assert found.faults == {}
    assert "Faults that found nobody: 1" in reporting.as_markdown(found)


def test_bad_runs() -> None:
    ops, ledger = all_classes()
    assert not result(ops, [*ledger, ran("task", 1)]).good
    assert not result(ops, ledger[1:]).good
    assert not result(ops, ledger, epochs=(5, 3)).good
    lost = result(ops, ledger[1:])
    assert questions.answer(6, "etcd", lost).verdict == "broken"
    assert "BAD: " in reporting.verdict(lost)


@pytest.mark.row("S28")
def test_wall_clocks_may_end_no_term_and_no_node() -> None:
    ops, ledger = all_classes()
    facts = result(ops, ledger).facts
    for epochs, dead, verdict in (([3, 3, 3], 0, "kept"), ([3, 3, 4], 0, "broken"), ([3, 3, 3], 1, "broken")):
        seen = Seen([], [], epochs, 0, [], 0.5, dead_nodes=dead)
        assert questions.answer(11, "etcd", summarise(facts, ops, ledger, seen, (0, 9 * S))).verdict == verdict


def test_each_question_has_an_experiment() -> None:
    for store in ("session", "etcd"):
        asked = [number for each in questions.experiments(store) for number in each.answers]
        assert sorted(asked) == sorted(questions.QUESTIONS)
        assert set(asked) == set(questions.RULES)


# --- old terms --------------------------------------------------------------------------------------------------------

ENDED = (
    "term {} ended here: {} messages of it, the last at {} s of the monotonic clock; refused of ended terms so far: {}"
)


def test_what_a_node_heard_after_its_leader_went_on_is_counted() -> None:
    rounds = [
        stale.Round(3, 17, stopped_s=10.0, continued_s=13.0, write_accepted=False),
        stale.Round(17, 40, stopped_s=20.0, continued_s=23.0, write_accepted=False),
    ]
    kept = "\n".join([ENDED.format(3, 50, 9.5, 1), ENDED.format(17, 60, 19.9, 4)])
    one = "12.3 this head leads no more: its lease could not be renewed for 3.7 s\n12.4 this head leads no more: gone"
    heads = [one, "15.1 this head leads no more: its lease could not be renewed for 4.1 s"]
    found = stale.count(rounds, 4, [kept, ""], heads)
    assert found.good
    assert (found.rounds, found.writes_tried, found.commands_refused, found.terms_looked_at) == (2, 2, 4, 2)
    assert found.ends == {"its lease could not be renewed for some time": 2, "gone": 1}
    heard_late = ENDED.format(17, 61, 23.1, 4)
    assert stale.count(rounds, 4, [kept, heard_late], heads).commands_accepted == 1


def test_without_logs_nothing_is_proved() -> None:
    assert not stale.count([stale.Round(3, 17, 1.0, 4.0, write_accepted=False)], 0, [""], []).good


def test_a_write_of_an_old_term_makes_a_run_bad() -> None:
    found = stale.count([stale.Round(3, 17, 1.0, 4.0, write_accepted=True)], 0, [], [])
    assert not found.good
    assert found.writes_accepted == 1


def test_a_leader_that_nobody_followed_proves_nothing() -> None:
    found = stale.count([stale.Round(3, 0, 1.0, 4.0, write_accepted=True)], 0, [], [])
    assert (found.rounds, found.without_follower, found.writes_tried, found.writes_accepted) == (0, 1, 0, 0)


# --- what a cluster stands on -----------------------------------------------------------------------------------------


def test_what_cannot_be_done_here_is_left_out_of_groups_and_refused_by_name() -> None:
    missing = {"cut-node": "namespaces need root"}
    possible = schedule.kinds_of("cut", with_etcd=False, impossible=missing)
    assert possible == ("deaf-node", "mute-node", "part-node", "cut-head", "cut-heads")
    with pytest.raises(ValueError, match="'cut-node' cannot be done: namespaces need root"):
        schedule.kinds_of("cut-node", with_etcd=False, impossible=missing)


def test_faults_say_what_they_need() -> None:
    assert schedule.needs(("head", "worker")) == ()
    assert schedule.needs(("host", "cut-node", "full-spill")) == ("hosts", "small disks")
    assert set(schedule.not_for_found()) & {"host", "etcd", "memory", "stale-head"} == {
        "host", "etcd", "memory", "stale-head",
    }  # fmt: skip


def test_a_class_is_available_when_it_answered_within_a_second() -> None:
    ops = [op("task", number, number, 0.3) for number in range(9)] + [op("task", 9, 9.0, 1.5)]
    found = service(ops, 0, 20 * S)
    assert (found.within, found.within_1s) == (0.0, 0.9)
    assert found.time_1s == pytest.approx(1 - 0.5 / 20)
