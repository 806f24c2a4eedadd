"""Members of keys, and keys that go with their last member."""

from __future__ import annotations

import pytest

from linckia.core.tables.index import Index
from linckia.core.tables.relation import Relation


def test_members_come_in_order_and_a_key_goes_with_its_last() -> None:
    index: Index[str, int] = Index()
    for key, member in (("a", 2), ("a", 1), ("b", 1), ("a", 2)):
        index.add(key, member)
    assert (index.of("a"), index.of("b"), index.of("c")) == ([2, 1], [1], [])
    assert index.first("a") == 2
    index.discard("a", 2)
    index.discard("a", 2)
    index.discard("c", 1)
    assert (index.first("a"), list(index)) == (1, ["a", "b"])
    assert index.pop("a") == [1]
    assert index.pop("a") == []
    assert "a" not in index
    index.discard("b", 1)
    assert len(index) == 0
    with pytest.raises(KeyError):
        index.first("b")


def test_whether_anybody_is_at_a_place_costs_no_list() -> None:
    places: Relation[str, str] = Relation("")
    places.put("a", "here")
    assert places.has("here")
    places.put("a", "there")
    assert not places.has("here")
