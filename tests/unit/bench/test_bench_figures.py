"""Figures, targets, verdicts: what is asked is what the issue asks, and the arithmetic is right."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.cluster_limits import LIMITS
from bench.cluster_session import WORKLOADS
from bench.engines import CLUSTER_PARTS, ENGINES, Run, choose, plan
from bench.figures import (
    CLUSTER,
    FIGURES,
    MACHINE,
    STORE,
    AtLeast,
    AtMost,
    Figure,
    Summary,
    asked_text,
    judge,
    needed_steps,
    number,
    select,
    summarize,
    with_unit,
)
from bench.report import verdicts
from bench.store_rates import STEPS

BY_ID = {figure.id: figure for figure in FIGURES}


def summary(value: float) -> Summary:
    return Summary(value, value, value, 1)


def test_summary_is_the_median_with_its_spread() -> None:
    found = summarize([("a", "f", 3.0), ("a", "f", 1.0), ("a", "f", 9.0), ("b", "f", 2.0)])
    assert found["a", "f"] == Summary(median=3.0, low=1.0, high=9.0, rounds=3)
    assert found["b", "f"].rounds == 1


@pytest.mark.parametrize(
    ("id_", "ours", "theirs", "met", "reached"),
    [
        ("put_small", 500.0, 10.0, True, "50x"),
        ("put_small", 499.0, 10.0, False, "49.9x"),
        ("get_10000_refs", 3.9, 1.0, False, "3.9x"),
    ],
)
def test_multiple_of_ray(id_: str, ours: float, theirs: float, met: bool, reached: str) -> None:
    (target,) = BY_ID[id_].targets
    verdict = judge(BY_ID[id_], target, {("linckia", id_): summary(ours), ("ray", id_): summary(theirs)})
    assert (verdict.met, verdict.reached) == (met, reached)


def test_share_of_a_limit_compares_with_the_limit_s_own_figure() -> None:
    figure = BY_ID["put_256mib"]
    (target,) = figure.targets
    medians = {("linckia", "put_256mib"): summary(8.4), ("limits", "memcpy"): summary(10.0)}
    verdict = judge(figure, target, medians)
    assert verdict.met is False
    assert verdict.text() == "**not met**: reached 84%, asked >= 85% of limits's memcpy"


def test_bound_is_met_at_the_bound() -> None:
    figure = BY_ID["shutdown_s"]
    (target,) = figure.targets
    assert judge(figure, target, {("linckia", "shutdown_s"): summary(0.5)}).met is True
    verdict = judge(figure, target, {("linckia", "shutdown_s"): summary(0.51)})
    assert verdict.text() == "**not met**: reached 0.51 s, asked <= 0.5 s"


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    figure = BY_ID["put_small"]
    (target,) = figure.targets
    assert judge(figure, target, {("ray", "put_small"): summary(1.0)}).met is None
    verdict = judge(figure, target, {("linckia", "put_small"): summary(1.0)})
    assert verdict.text() == "not measured (no figure from ray)"


def test_every_target_of_the_issue_is_there() -> None:
    asked = Counter(
        (figure.id, target.limit if isinstance(target, AtMost) else (target.engine, target.figure, target.factor))
        for figure in FIGURES
        for target in figure.targets
    )
    ray = {
        "task_sync": 30, "task_1000": 50, "actor_sync": 9, "actor_1000": 25, "actor_4": 20, "actor_ref": 25,
        "async_actor_sync": 9, "async_actor_1000": 20, "put_small": 50, "get_small": 20, "put_1mib": 6, "get_256mib": 5,
        "wait_1000": 15, "get_10000_refs": 4,
    }  # fmt: skip
    bounds = {
        "startup_s": 0.5, "import_ms": 60, "import_heavy": 0, "idle_pss_mb": 100, "idle_worker_uss_mb": 10,
        "actors_20_s": 0.5, "get_copied_mb": 1, "growth_submitted": 1.2, "growth_history": 1.2, "pending_bytes": 2048,
        "growth_objects_mb": 5, "growth_shared_mb": 5, "shutdown_s": 0.5, "left_behind": 0,
    }  # fmt: skip
    others = [
        ("task_sync", ("futures", None, 3)),
        ("task_sync", ("limits", "ping_pong", 0.5)),
        ("task_sync", ("prototype", None, 0.5)),
        ("task_1000", ("multiprocessing", None, 5)),
        ("task_1000", ("prototype", None, 0.4)),
        ("put_256mib", ("limits", "memcpy", 0.85)),
    ]
    many_machines = [
        *((id_, ("ray", None, 10)) for id_ in ("nodes_tasks", "groups_made", "groups_removed", "nodes_actors")),
        ("queue_rate", ("ray", None, 3)),
        ("transfer_one", ("limits", "socket_stream", 0.8)),
        ("spill", ("limits", "disk_write", 0.8)),
        ("restore", ("limits", "disk_read", 0.8)),
        ("join_first_task_s", 0.7),
        ("links_ratio", 3),
        ("node_pss_mb", 60),
        ("nodes_idle_cpu", 5),
        ("queue_submit_slowdown", 1.2),
        ("queue_drain_slowdown", 1.2),
        ("queue_driver_bytes", 2048),
        ("broadcast_ratio", 3),
        *((f"decision{kind}_us", 200) for kind in ("", "_spread", "_labels", "_infeasible")),
    ]
    survive = [
        ("store_etcd_64", ("linckia", "store_sqlite_64", 0.5)),
        ("store_etcd_64", ("limits", "store_bare_etcd_64", 0.9)),
        ("store_sqlite_1", ("limits", "store_commits", 0.5)),
        ("heads_groups_etcd", ("linckia", "heads_groups_sqlite", 0.5)),
        ("heads_actors_etcd", ("linckia", "heads_actors_sqlite", 0.5)),
        ("heads_failover", 0.3),
        ("heads_failover_max", 1.0),
    ]
    wanted = [(id_, ("ray", None, factor)) for id_, factor in ray.items()] + list(bounds.items()) + others
    assert asked == Counter(wanted + many_machines) + Counter(survive)


def test_whoever_a_target_compares_with_measures_that_figure() -> None:
    steps = {engine.name: {*engine.steps, *engine.long_steps, *engine.cluster_steps} for engine in ENGINES}
    for figure in FIGURES:
        for target in figure.targets:
            assert figure.step in steps["linckia"]
            if isinstance(target, AtLeast):
                assert BY_ID[target.figure or figure.id].step in steps[target.engine]


def test_every_engine_stops_last() -> None:
    for engine in ENGINES:
        assert "shutdown" not in engine.steps[:-1]


def test_rounds_alternate_between_the_engines_and_growth_comes_last() -> None:
    engines = choose(["ray", "limits", "linckia"])
    runs = plan(engines, 2, needed_steps(select([], MACHINE)), frozenset({"linckia"}))
    assert [run.steps for run in runs if run.is_long] == [("growth_tasks",), ("growth_pending",), ("growth_objects",)]
    assert [(run.engine.name, run.round, run.is_long) for run in runs] == [
        ("limits", 1, False), ("linckia", 1, False), ("ray", 1, False),
        ("limits", 2, False), ("linckia", 2, False), ("ray", 2, False),
        ("linckia", 1, True), ("linckia", 1, True), ("linckia", 1, True),
    ]  # fmt: skip


def test_parts_of_the_cluster_figures_have_their_engines_side_by_side() -> None:
    runs = plan(choose(["ray", "limits", "linckia"]), 2, needed_steps(select(["spill", "queue"], CLUSTER)), frozenset())
    once = [
        ("linckia", ("cluster_queue",)), ("ray", ("cluster_queue",)),
        ("limits", ("cluster_disk",)), ("linckia", ("cluster_spill",)), ("ray", ("cluster_spill",)),
    ]  # fmt: skip
    assert [(run.engine.name, run.steps) for run in runs] == once * 2
    assert all(run.is_cluster for run in runs)


def test_every_cluster_step_is_planned_and_has_its_code() -> None:
    planned = {step for part in CLUSTER_PARTS for step in part}
    assert planned == {figure.step for group in (CLUSTER, STORE) for figure in select([], group)}
    assert planned == {*WORKLOADS, *LIMITS, *STEPS}


def test_a_group_selects_its_figures_only() -> None:
    assert {figure.group for figure in select([], CLUSTER)} == {CLUSTER}
    assert set(select([])) > set(select([], CLUSTER))
    with pytest.raises(ValueError, match="no such figure"):
        select(["startup"], CLUSTER)


def test_only_takes_the_limits_along_that_a_target_needs() -> None:
    steps = needed_steps(select(["put_256mib"]))
    assert steps == {"put_256mib", "memcpy"}
    runs = plan(choose([]), 1, steps, frozenset())
    assert [(run.engine.name, run.steps) for run in runs] == [
        ("limits", ("memcpy",)),
        ("linckia", ("put_256mib",)),
        ("ray", ("put_256mib",)),
    ]


def test_only_and_engines_refuse_unknown_names() -> None:
    with pytest.raises(ValueError, match="no such figure; known: startup_s"):
        select(["nonsense"])
    with pytest.raises(ValueError, match="unknown; known: limits"):
        choose(["spark"])


def test_an_engine_without_the_wanted_steps_is_not_started() -> None:
    assert plan(choose(["loky"]), 3, frozenset({"put_small"}), frozenset()) == []
    assert plan(choose(["loky"]), 1, frozenset({"startup"}), frozenset()) == [Run(choose(["loky"])[0], 1, ("startup",))]


def test_numbers_are_short_and_units_follow() -> None:
    texts = [number(value) for value in (0, 0.0031, 0.25, 1.234, 45.67, 264.4, 123456.7)]
    assert texts == ["0", "0.0031", "0.25", "1.23", "45.7", "264", "123,457"]
    assert [with_unit(2.0, unit) for unit in ("s", "/s", "x", "")] == ["2 s", "2/s", "2x", "2"]
    assert asked_text(Figure("f", "f", "f", "s"), AtMost(0.5, "goal 0.25 s")) == "<= 0.5 s (goal 0.25 s)"


def test_verdicts_judge_each_target_once() -> None:
    assert len(verdicts(FIGURES, {})) == sum(len(figure.targets) for figure in FIGURES)
