"""How long a write to etcd is waited for: by what the last one took, and not for long where the store is quick."""

from __future__ import annotations

from linckia.base.limits import ETCD_REQUEST_MAX_S, ETCD_WRITE_ATTEMPT_LEAST_S, ETCD_WRITE_PATIENCE
from linckia.store.etcd_link import Patience


def test_the_first_write_has_all_the_time() -> None:
    assert Patience(ETCD_REQUEST_MAX_S).write_s == ETCD_REQUEST_MAX_S


def test_where_the_store_is_quick_a_write_that_is_lost_is_given_up_soon() -> None:
    """It took five seconds until a head wrote again after etcd's leader had died with a write that it alone had."""
    patience = Patience(ETCD_REQUEST_MAX_S)
    patience.took(0.004, is_late=False)
    assert patience.write_s == ETCD_WRITE_ATTEMPT_LEAST_S


def test_a_slow_store_is_not_given_up_each_time() -> None:
    """Its writes take longer than the shortest time: they would never be done, were it waited for no longer."""
    patience = Patience(ETCD_REQUEST_MAX_S)
    patience.took(0.004, is_late=False)
    takes_s, late = 3.0, 0
    for _ in range(20):
        is_late = takes_s > patience.write_s
        patience.took(min(takes_s, patience.write_s), is_late=is_late)
        late += is_late
    assert late == 2
    patience.took(1.0, is_late=False)
    assert patience.write_s == ETCD_WRITE_PATIENCE


def test_no_write_is_waited_for_longer_than_a_request_may_take() -> None:
    patience = Patience(ETCD_REQUEST_MAX_S)
    for _ in range(5):
        patience.took(4.9, is_late=True)
    assert patience.write_s == ETCD_REQUEST_MAX_S
    assert Patience(0.5).write_s == 0.5
