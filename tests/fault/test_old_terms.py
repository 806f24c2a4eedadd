"""A leader of a real cluster that is stopped until another one leads, and goes on: nothing of its old term is accepted
(S 14). `make chaos-long` does it 100 times and longer.
"""

from __future__ import annotations

import os

import msgspec
import pytest

from linckia.testing.chaos.ground import Size
from linckia.testing.chaos.runner import run
from linckia.testing.chaos.schedule import Plan
from linckia.testing.etcd import missing

ROUNDS = int(os.environ.get("RUNS") or 5)

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]


@pytest.mark.row("S14")
@pytest.mark.timeout(120 + ROUNDS * 10)
def test_nothing_of_an_old_term_is_accepted_by_nodes_or_store(capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan(14, for_s=1.0 + ROUNDS * 0.1, every_s=0.1, kinds=("stale-head",), quiet_s=1.0, lasts_s=0.1)
    plan = msgspec.structs.replace(plan, classes=("call", "group"))
    result = run(plan, Size("etcd", nodes=1, heads=2, cpus=2), lambda _text: None)
    found = result.seen.stale
    assert found is not None
    with capsys.disabled():
        print(
            f"\n{found.rounds} leaders stopped: {found.writes_tried} writes of old terms tried, "
            f"{found.writes_accepted} accepted; {found.terms_looked_at} terms of nodes, "
            f"{found.commands_accepted} heard too late, "
            f"{found.commands_refused} messages refused"
        )
    assert found.rounds == ROUNDS
    assert (found.writes_tried, found.writes_accepted) == (ROUNDS, 0)
    assert found.terms_looked_at >= ROUNDS
    assert found.commands_accepted == 0
    assert found.commands_refused > 0  # a node that has not heard of the new term yet has nothing to refuse
    assert result.good, result
