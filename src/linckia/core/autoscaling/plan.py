"""The autoscaler's decision: from demand, nodes and limits to launches and terminations, with reasons (R 10.6-10.10).

A pure function of the state, so that it can be asked again at any time: constant demand leads to the same plan minus
what is already on its way, hence to finitely many actions; a node that a waiting gang or a request needs is not idle
(P 41).
"""

from __future__ import annotations

import math

from linckia.core.autoscaling.packing import Board, Slot
from linckia.core.autoscaling.records import Demand, Launch, Limits, Plan, RunningNode, Terminate

LAUNCHES_FLOOR = 5
"""A small cluster may grow by so many nodes per round and type, whatever its speed."""
SHAPES_MAX = 1000
COUNT_MAX = 10_000


def plan(limits: Limits, nodes: list[RunningNode], launching: dict[str, int], demand: Demand, now_s: float) -> Plan:
    """``launching``: nodes by type that were asked for and have not joined yet."""
    counts = {each.name: launching.get(each.name, 0) for each in limits.types}
    for node in nodes:
        if node.node_type in counts:
            counts[node.node_type] += 1
    board = _board(limits, nodes, launching, counts)
    reasons: dict[str, list[str]] = {}
    unmet: list[tuple[str, str]] = []
    _minimum(board, limits, counts, reasons)
    _constraints(board, limits, nodes, demand, reasons, unmet)
    for gang in sorted(demand.gangs, key=lambda each: -len(each.bundles)):
        _note(board, reasons, f"placement group {gang.name}", board.place_gang(gang), unmet)
    for amounts, count, selectors in demand.shapes[:SHAPES_MAX]:
        for _ in range(min(count, COUNT_MAX)):
            why = board.place(amounts, selectors)
            _note(board, reasons, f"{count} x {amounts}", why, unmet)
            if why:
                break
    return Plan(_launches(board, limits, nodes, launching, reasons), _idle(board, limits, nodes, counts, now_s), unmet)


def _board(limits: Limits, nodes: list[RunningNode], launching: dict[str, int], counts: dict[str, int]) -> Board:
    slots = [Slot(n.node_type, n.available, n.labels, node_id=n.node_id) for n in nodes if n.takes_work]
    by_name = {each.name: each for each in limits.types}
    for name, count in launching.items():
        if name in by_name:
            slots += [Slot(name, by_name[name].resources, by_name[name].labels) for _ in range(count)]
    room = {each.name: max(0, each.max_workers - counts[each.name]) for each in limits.types}
    return Board(slots, room, max(0, limits.max_workers - sum(counts.values())), limits.types)


def _minimum(board: Board, limits: Limits, counts: dict[str, int], reasons: dict[str, list[str]]) -> None:
    for each in limits.types:
        for _ in range(max(0, each.min_workers - counts[each.name])):
            if board.room[each.name] > 0 and board.room_in_all > 0:
                board.add(each)
                reasons.setdefault(each.name, []).append(f"min_workers={each.min_workers}")


def _constraints(
    board: Board,
    limits: Limits,
    nodes: list[RunningNode],
    demand: Demand,
    reasons: dict[str, list[str]],
    unmet: list[tuple[str, str]],
) -> None:
    """request_resources speaks of the cluster's size, used or not: laid out on empty nodes."""
    if not demand.constraints:
        return
    empty = [Slot(n.node_type, n.total, n.labels, node_id=n.node_id) for n in nodes if n.takes_work]
    by_name = {each.name: each for each in limits.types}
    coming = [slot for slot in board.slots if not slot.node_id]
    empty += [Slot(slot.node_type, by_name[slot.node_type].resources, slot.labels) for slot in coming]
    sized = Board(empty, board.room, board.room_in_all, board.types)
    selectors = demand.constraint_selectors or [{} for _ in demand.constraints]
    for amounts, selector in zip(demand.constraints[:COUNT_MAX], selectors, strict=False):
        before = len(sized.slots)
        why = sized.place(amounts, [selector] if selector else [])
        if why:
            unmet.append((f"request_resources {amounts}", why))
        for slot in sized.slots[before:]:
            board.slots.append(Slot(slot.node_type, slot.free, slot.labels, added=True))
            reasons.setdefault(slot.node_type, []).append("request_resources")
    board.room_in_all = sized.room_in_all
    needed = {slot.node_id for slot in sized.slots if slot.needed and slot.node_id}
    for slot in board.slots:
        slot.needed = slot.needed or slot.node_id in needed


def _note(board: Board, reasons: dict[str, list[str]], what: str, why: str, unmet: list[tuple[str, str]]) -> None:
    if why:
        unmet.append((what, why))
        return
    last = board.slots[-1] if board.slots else None
    if last is not None and last.added and what not in reasons.setdefault(last.node_type, []):
        reasons[last.node_type].append(what)


def _launches(
    board: Board,
    limits: Limits,
    nodes: list[RunningNode],
    launching: dict[str, int],
    reasons: dict[str, list[str]],
) -> list[Launch]:
    """What the plan added, as many as the speed allows now (R 10.8); the rest follows in later rounds."""
    added: dict[str, int] = {}
    for slot in board.slots:
        if slot.added:
            added[slot.node_type] = added.get(slot.node_type, 0) + 1
    found = []
    for name, count in sorted(added.items()):
        running = sum(1 for node in nodes if node.node_type == name)
        allowed = max(LAUNCHES_FLOOR, math.ceil(limits.upscaling_speed * max(running, 1))) - launching.get(name, 0)
        if allowed > 0:
            found.append(Launch(name, min(count, allowed), "; ".join(reasons.get(name, [])[:3])))
    return found


def _idle(
    board: Board, limits: Limits, nodes: list[RunningNode], counts: dict[str, int], now_s: float
) -> list[Terminate]:
    """Nodes that nothing needs, longest idle first, down to the minimum of their type."""
    by_name = {each.name: each for each in limits.types}
    needed = {slot.node_id for slot in board.slots if slot.needed}
    left = dict(counts)
    surplus = sum(left.values()) - limits.max_workers
    found = []
    for node in sorted(nodes, key=lambda each: each.idle_since_s):
        kind = by_name.get(node.node_type)
        if kind is None or node.is_head or not node.idle_since_s:
            continue
        if left[kind.name] > kind.max_workers:
            left[kind.name] -= 1
            surplus -= 1
            found.append(
                Terminate(node.node_id, "MAX_NUM_NODE_PER_TYPE", f"max_workers={kind.max_workers} of {kind.name}")
            )
            continue
        if surplus > 0 and left[kind.name] > kind.min_workers:
            left[kind.name] -= 1
            surplus -= 1
            found.append(Terminate(node.node_id, "MAX_NUM_NODES", f"max_workers={limits.max_workers} of the cluster"))
            continue
        timeout_s = limits.idle_timeout_s if kind.idle_timeout_s is None else kind.idle_timeout_s
        idle_s = now_s - node.idle_since_s
        if node.node_id in needed or idle_s < timeout_s or left[kind.name] <= kind.min_workers:
            continue
        left[kind.name] -= 1
        found.append(Terminate(node.node_id, "IDLE", f"idle for {idle_s:.0f} s (timeout {timeout_s:g} s)"))
    return found
