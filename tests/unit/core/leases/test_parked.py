"""Requests of jobs that a node has not heard of: they wait for the news, unless nobody wants them any more."""

from __future__ import annotations

from linckia.core.leases.parked import Parked
from linckia.core.leases.records import LeaseRequest


def request(owner: bytes, rid: int, job_id: bytes = b"j") -> LeaseRequest:
    return LeaseRequest(owner=owner, rid=rid, resources={}, job_id=job_id)


def test_they_go_on_in_order_when_their_job_is_known() -> None:
    parked = Parked()
    asked = [request(b"a", 1), request(b"b", 1), request(b"a", 2, b"k"), request(b"a", 3)]
    for each in asked:
        parked.add(each)
    assert parked.pop(b"j") == [asked[0], asked[1], asked[3]]
    assert parked.pop(b"j") == []
    assert len(parked) == 1


def test_one_that_was_cancelled_does_not_come_back() -> None:
    parked = Parked()
    parked.add(request(b"a", 1))
    assert parked.cancel((b"a", 1)) == request(b"a", 1)
    assert parked.cancel((b"a", 1)) is None
    assert parked.pop(b"j") == []


def test_those_of_an_owner_that_has_ended_are_forgotten() -> None:
    parked = Parked()
    for each in (request(b"a", 1), request(b"b", 2), request(b"a", 3, b"k")):
        parked.add(each)
    parked.owner_gone(b"a")
    assert [each.rid for each in parked.pop(b"j")] == [2]
    assert (len(parked), parked.pop(b"k")) == (0, [])
