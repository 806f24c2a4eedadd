"""Which nodes hold the copies of an object: enough of them, each once, evenly, and again when one is lost."""

from __future__ import annotations

import random

from linckia.core.objects.replicas import RETRY_AFTER_S, ReplicaTable

A, B, C, D = b"a", b"b", b"c", b"d"


def test_the_primary_counts() -> None:
    table = ReplicaTable()
    table.want(b"1", 3)
    assert table.choose(b"1", A, [A, B, C, D], 0.0) == [B, C]
    assert table.choose(b"1", A, [A, B, C, D], 0.0) == [], "they were asked"


def test_the_load_is_even() -> None:
    table, load = ReplicaTable(), dict.fromkeys([B, C, D], 0)
    for number in range(30):
        table.want(number.to_bytes(2, "big"), 2)
        (node,) = table.choose(number.to_bytes(2, "big"), A, [A, B, C, D], 0.0)
        load[node] += 1
    assert set(load.values()) == {10}


def test_too_few_nodes_get_one_each_and_the_rest_follows() -> None:
    table = ReplicaTable()
    table.want(b"1", 4)
    assert table.choose(b"1", A, [A, B], 0.0) == [B]
    assert table.lacking() == [b"1"]
    assert table.choose(b"1", A, [A, B, C], 0.0) == [C]


def test_a_dead_node_is_replaced() -> None:
    table = ReplicaTable()
    table.want(b"1", 2)
    table.choose(b"1", A, [A, B], 0.0)
    table.kept(b"1", B)
    assert table.node_dead(B) == [b"1"]
    assert table.choose(b"1", A, [A, C], 0.0) == [C]
    assert table.node_dead(D) == []


def test_the_copy_that_became_the_primary_is_no_replica_any_more() -> None:
    table = ReplicaTable()
    table.want(b"1", 2)
    assert table.choose(b"1", A, [A, B, C], 0.0) == [B]
    assert table.choose(b"1", B, [B, C], 1.0) == [C]


def test_a_node_that_refused_is_left_alone_for_a_while() -> None:
    table = ReplicaTable()
    table.want(b"1", 2)
    assert table.choose(b"1", A, [A, B, C], 0.0) == [B]
    table.refused(b"1", B, 0.0)
    assert table.choose(b"1", A, [A, B], 1.0) == []
    assert table.lacking() == [b"1"]
    assert table.is_refused(RETRY_AFTER_S - 0.1), "look again later"
    assert table.choose(b"1", A, [A, B], RETRY_AFTER_S) == [B]
    assert not table.is_refused(RETRY_AFTER_S)


def test_what_is_freed_weighs_nothing() -> None:
    table = ReplicaTable()
    for name in (b"1", b"2"):
        table.want(name, 2)
    assert table.choose(b"1", A, [A, B, C], 0.0) == [B]
    table.freed(b"1")
    table.freed(b"1")
    assert table.choose(b"1", A, [A, B, C], 0.0) == []
    assert table.choose(b"2", A, [A, B, C], 0.0) == [B]


def test_random_histories_keep_as_many_as_there_can_be() -> None:
    rng = random.Random(5)
    for _ in range(100):
        table, nodes = ReplicaTable(), [A, B, C, D]
        wanted = {number: rng.randint(2, 4) for number in range(6)}
        for number, copies in wanted.items():
            table.want(bytes([number]), copies)
            table.choose(bytes([number]), A, nodes, 0.0)
        for _ in range(20):
            node = rng.choice([B, C, D])
            if node in nodes:
                nodes.remove(node)
                table.node_dead(node)
            else:
                nodes.append(node)
            for object_id in table.lacking():
                table.choose(object_id, A, nodes, 0.0)
            for number, copies in wanted.items():
                held = table.objects[bytes([number])].nodes
                assert set(held) <= set(nodes) - {A}
                assert len(held) == min(copies - 1, len(nodes) - 1)
