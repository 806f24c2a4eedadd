"""One place for each member, and the way back."""

from __future__ import annotations

from linckia.core.tables.relation import Relation


def test_places_are_known_both_ways() -> None:
    places: Relation[bytes, bytes] = Relation(b"")
    for member, place in ((b"a", b"n1"), (b"b", b"n1"), (b"c", b"n2"), (b"a", b"n2")):
        places.put(member, place)
    assert (places.at(b"n1"), places.at(b"n2"), places.at(b"n3")) == ([b"b"], [b"c", b"a"], [])
    places.pop(b"b")
    places.pop(b"b")
    assert (places.at(b"n1"), places.get(b"b"), places.get(b"a"), len(places)) == ([], b"", b"n2", 2)
    assert b"a" in places
    assert b"b" not in places
