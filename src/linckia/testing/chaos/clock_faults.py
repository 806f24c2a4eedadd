"""The fault of clocks: the wall clock of a host jumps by an hour, forward or back, and later back again (S 28)."""

from __future__ import annotations

import time

from linckia.testing.chaos.ground import OwnGround, chosen
from linckia.testing.chaos.history import Deed
from linckia.testing.chaos.injecting import Doing, Injector
from linckia.testing.chaos.process_faults import leading
from linckia.testing.chaos.schedule import Fault

JUMP_S = 3600
LEADER_SHARE = 0.5


class ClockFaults:
    """The kind `clock`. The ground has clocks."""

    def __init__(self, injector: Injector, ground: OwnGround) -> None:
        self.injector, self.ground = injector, ground
        self._back = False

    def kinds(self) -> dict[str, Doing]:
        """How it is done."""
        return {"clock": self._jump}

    def _jump(self, fault: Fault) -> Deed | None:
        """Of the leader's host, or of another one that runs a head or a node; back and forward by turns."""
        clocks = self.ground.places.clocks
        found = leading(self.injector)  # notes the term: none may end
        if found is None:
            return None
        leader = self.ground.place_of(found[0])
        others = sorted(name for name in clocks if name != leader)
        name = leader if fault.draw < LEADER_SHARE else chosen(others, (fault.draw - LEADER_SHARE) / (1 - LEADER_SHARE))
        self._back = not self._back
        shift_s = -JUMP_S if self._back else JUMP_S
        at_ns = time.monotonic_ns()
        clocks[name].set(shift_s)
        self.injector.later(fault.lasts_s, lambda: clocks[name].set(0), f"set the clock of {name}")
        return Deed(fault.kind, at_ns, f"the wall clock of {name} by {shift_s:+} s", lasts_s=fault.lasts_s)
