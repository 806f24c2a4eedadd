"""Which nodes keep copies for which owners, as the head knows it: a superset, bounded, and forgotten with the job."""

from __future__ import annotations

import tracemalloc

from linckia.core.objects.keepers import NODE_BYTES, OWNER_BYTES, KeeperTable

A, B = b"a", b"b"
JOB, OTHER = b"job1", b"job2"


def is_empty(table: KeeperTable) -> bool:
    return not (table.owners or table._of_node or table._of_job or len(table._ledger) or table._ledger.bytes)


def test_nodes_come_and_go() -> None:
    table = KeeperTable()
    assert table.of(b"x") == ([], [])
    for _ in range(2):
        table.keeps(A, b"x", JOB)
        table.keeps(B, b"x", JOB)
    assert table.of(b"x") == ([A, B], [])
    table.keeps_nothing(A, b"x")
    table.keeps_nothing(A, b"x")
    table.keeps_nothing(A, b"unknown")
    assert table.of(b"x") == ([B], [])
    table.keeps_nothing(B, b"x")
    assert is_empty(table)


def test_the_dead_are_remembered_for_who_asks() -> None:
    table = KeeperTable()
    table.keeps(A, b"x", JOB)
    table.keeps(B, b"x", JOB)
    table.node_dead(A)
    table.node_dead(A)
    assert table.of(b"x") == ([B], [A])
    table.keeps_nothing(B, b"x")
    assert table.of(b"x") == ([], [A])
    table.job_ended(JOB)
    assert is_empty(table)


def test_what_a_job_kept_ends_with_it() -> None:
    table = KeeperTable()
    table.keeps(A, b"x", JOB)
    table.keeps(A, b"y", OTHER)
    table.job_ended(JOB)
    assert table.of(b"x") == ([], []) and table.of(b"y") == ([A], [])
    table.job_ended(OTHER)
    assert is_empty(table)


def test_the_budget_holds_and_is_not_below_the_truth() -> None:
    each = OWNER_BYTES + 2 * NODE_BYTES
    table = KeeperTable(each * 1000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(3000):
            for node in (A, B):
                table.keeps(node, b"owner %16d" % number, b"%4d" % number)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(table.owners) == 1000 and table.of(b"owner %16d" % 0) == ([], [])
    assert used <= each * 1000
    facts = table.facts()
    assert facts.bytes <= facts.budget_bytes and facts.evicted == 2000
    print(f"{used / 1000:.0f} bytes for an owner with two nodes, {each} reckoned")
