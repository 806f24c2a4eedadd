"""One head's part in electing the leader, without I/O: what it learns comes in, ``commands.py`` comes out.

* A head has one lease for its own key and, if it leads, for the leader key. While the lease lives the term lives: who
  ends a term ends the lease, and a head that lost a term begins with a new lease. So a late write of an old campaign
  is refused by the store, and a renewal that is granted proves that the head still leads.
* *Deadline*: when the last renewal that was granted was **sent**, plus the lease's time, minus a margin. A leader does
  not serve beyond it, whatever anybody says. It keeps its term (PAUSED) until it hears what became of it: if a renewal
  is granted after all, it goes on with the same epoch, because nobody can have led meanwhile.
* The time must go on while the machine sleeps (CLOCK_BOOTTIME): leases elsewhere do.
* What is learned about the leader key has a revision; older news is ignored.
* A leader whose process is known to be gone is evicted: its lease is ended, and the leader key is asked for in the same
  breath.

Safety does not rest on clocks: every write of a leader compares the epoch (``records.fence``), every command has it.
"""

from __future__ import annotations

from typing import Final

from linckia.base import limits
from linckia.base.backoff import Backoff, UnitRandom
from linckia.core.leadership.commands import (
    Campaign,
    Command,
    Deposed,
    Elected,
    Evict,
    GrantLease,
    Look,
    Paused,
    Register,
    Release,
    Renew,
    Resumed,
)
from linckia.core.leadership.records import Leader
from linckia.core.leadership.states import HEAD_TABLE, HeadEvent, HeadState

S, E = HeadState, HeadEvent
RETRY: Final = Backoff(limits.ELECTION_RETRY_FIRST_S, limits.ELECTION_RETRY_CAP_S, jitter=0.5)
NEVER: Final = float("inf")
TERM = (S.LEADING, S.PAUSED)
FORMER_LEASES_KEPT: Final = 8


class Election:
    """One candidate. Each method takes the candidate's time and returns what to do, in order."""

    def __init__(self, head_id: bytes, rng: UnitRandom, ttl_s: float = limits.LEADER_TTL_S) -> None:
        self.head_id, self.ttl_s = head_id, ttl_s
        self.state = HEAD_TABLE.initial
        self.lease = 0
        self.deadline_s = 0.0
        self.epoch = 0  # of this head's own term
        self.leader: Leader | None = None  # as last seen
        self._rng = rng
        self._seen_revision = 0
        self._is_known = False  # whether ``leader`` can be relied on
        self._is_granting = self._is_registering = self._is_registered = self._is_announced = False
        self._won_revision = 0
        self._former: dict[int, None] = {}  # leases this process had: nobody serves under them
        self._evicted = 0  # the lease that was ended last because its leader is gone
        self._gone_epoch = 0  # the leader of that term is known to be gone
        self._attempts = 0
        self._retry_s = self._rest_until_s = 0.0
        self._renew_at_s = self._look_at_s = NEVER

    # --- questions ----------------------------------------------------------------------------------------------------

    def is_serving(self, now_s: float) -> bool:
        """Whether this head leads, for certain, as far as clocks can tell."""
        return now_s < self.deadline_s and self.state is S.LEADING

    def wake_s(self) -> float | None:
        """When ``tick`` has something to do at the latest; None for never again."""
        due_s = [self._look_at_s]
        match self.state:
            case S.CLOSED:
                return None
            case S.STARTING if not self._is_granting:
                due_s.append(self._retry_s)
            case S.STANDBY if self._wants():
                due_s.append(max(self._retry_s, self._rest_until_s))
            case S.LEADING:
                due_s.append(self.deadline_s)
            case _:
                pass
        if self.lease and self.state is not S.STEPPING_DOWN:
            due_s.append(self._renew_at_s)
        return min(due_s)

    # --- what is asked of it ------------------------------------------------------------------------------------------

    def start(self, now_s: float) -> list[Command]:
        """Begin to be a candidate."""
        self._look_at_s = now_s + self.ttl_s
        return self._grant(now_s)

    def step_down(self, now_s: float, why: str) -> list[Command]:
        """Hand over on purpose: stop serving, give up the lease, and leave the next election to others for a moment."""
        if self.state not in TERM:
            return []
        commands = self._end_term(why)
        self._move(E.STEP_DOWN)
        self._rest_until_s = now_s + limits.LEADER_REST_S
        return [*commands, Release(self.lease)]

    def leader_gone(self, epoch: int, now_s: float) -> list[Command]:
        """Somebody is sure that the process of that term's leader has ended."""
        known = self.leader.epoch if self.leader is not None else 0
        if self.state is S.CLOSED or epoch in (self.epoch, self._gone_epoch) or epoch < known:
            return []
        self._gone_epoch = epoch
        self._retry_s = self._rest_until_s = 0.0
        look: list[Command] = [Look()] if known < epoch else []
        return look + self._pursue(now_s)

    def close(self) -> list[Command]:
        """The head ends: no term, no lease, nothing after this."""
        if self.state is S.CLOSED:
            return []
        self._move(E.CLOSE)
        lease, self.lease, self.epoch = self.lease, 0, 0
        return [Release(lease)] if lease else []

    def tick(self, now_s: float) -> list[Command]:
        """Time has passed."""
        commands: list[Command] = []
        if self.state is S.CLOSED:
            return commands
        if self.state is S.LEADING and now_s >= self.deadline_s:
            commands += self._pause()
        if self.state is S.STARTING and not self._is_granting and now_s >= self._retry_s:
            commands += self._grant(now_s)
        if self.lease and self.state is not S.STEPPING_DOWN and now_s >= self._renew_at_s:
            self._renew_at_s = now_s + self.ttl_s / limits.LEADER_ATTEMPTS_PER_TTL
            commands.append(Renew(self.lease, now_s))
            if not self._is_registered:
                commands += self._register()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + self.ttl_s
            commands.append(Look())
        return commands + self._pursue(now_s)

    # --- answers about the lease --------------------------------------------------------------------------------------

    def granted(self, lease: int, ttl_s: float, sent_s: float, now_s: float) -> list[Command]:
        """A lease. At first nobody knows who leads: asking for the leader key tells."""
        self._is_granting = False
        if self.state is not S.STARTING:
            return [Release(lease)]
        self._move(E.GRANTED)
        self.lease, self._attempts = lease, 0
        self.ttl_s = max(self.ttl_s, ttl_s)
        self.deadline_s = self._deadline_s(sent_s)
        self._renew_at_s = sent_s + self.ttl_s / limits.LEADER_RENEWALS_PER_TTL
        if not self._is_known and now_s >= self._rest_until_s:
            return [*self._register(), *self._campaign()]
        return [*self._register(), *self._pursue(now_s)]

    def grant_failed(self, now_s: float) -> list[Command]:
        """No lease."""
        self._is_granting = False
        self._back_off(now_s)
        return []

    def registered(self, lease: int) -> None:
        """The head's facts are written."""
        if lease == self.lease:
            self._is_registered, self._is_registering = True, False

    def register_failed(self, lease: int, now_s: float, *, is_over: bool) -> list[Command]:
        """They are not, or perhaps; ``is_over``: because the lease has ended."""
        if lease == self.lease:
            self._is_registering = False
        return self.refused(lease, now_s, is_over=is_over)

    def unregistered(self) -> None:
        """They are gone, or under another lease: a late write of an earlier run with this id. Written again soon."""
        self._is_registered = False

    def renewed(self, lease: int, sent_s: float, now_s: float) -> list[Command]:
        """The lease has its full time again, counted from some moment after ``sent_s``."""
        if lease != self.lease:
            return []
        self.deadline_s = max(self.deadline_s, self._deadline_s(sent_s))
        self._renew_at_s = max(self._renew_at_s, sent_s + self.ttl_s / limits.LEADER_RENEWALS_PER_TTL)
        if self.state is S.PAUSED and now_s < self.deadline_s:
            self._move(E.RENEWED)
            return [Resumed()] if self._is_announced else self._announce()
        return self._announce()

    def refused(self, lease: int, now_s: float, *, is_over: bool) -> list[Command]:
        """A renewal failed; ``is_over``: because the lease has ended."""
        if lease != self.lease or not is_over or self.state is S.STEPPING_DOWN or not lease:
            return []
        return self._lose(now_s, "its lease has ended", is_over=True)

    def released(self, lease: int, now_s: float) -> list[Command]:
        """The head's own lease was ended, or will end by itself."""
        if self.state is not S.STEPPING_DOWN or lease != self.lease:
            return []
        self._move(E.RELEASED)
        self._forget_lease()
        self._rest_until_s = now_s + limits.LEADER_REST_S
        return self._grant(now_s)

    # --- answers about the leader key ---------------------------------------------------------------------------------

    def observed(self, leader: Leader | None, revision: int, now_s: float) -> list[Command]:
        """The leader key as it was at a revision: from a watch, a read or a campaign."""
        if revision < self._seen_revision or self.state is S.CLOSED:
            return []
        if leader != self.leader:
            self._attempts, self._retry_s = 0, 0.0
        self._seen_revision, self.leader, self._is_known = revision, leader, True
        is_mine = leader is not None and leader.lease == self.lease
        if self.state in TERM and (leader is None or not is_mine or leader.epoch != self.epoch):
            return self._lose(now_s, "the leader key is gone" if leader is None else "another head leads")
        if leader is not None and is_mine and self.state in (S.STANDBY, S.CAMPAIGNING):
            return self._win(leader, revision, now_s)
        return self._pursue(now_s)

    def campaigned(self, lease: int, leader: Leader | None, revision: int, now_s: float) -> list[Command]:
        """The store decided: ``leader`` has the key, perhaps this head."""
        if lease != self.lease:
            return []
        commands = self.observed(leader, revision, now_s)
        if self.state is not S.CAMPAIGNING:
            return commands
        self._move(E.OUTRUN)
        if self.leader is not None and self.leader.lease == self._evicted:
            self._back_off(now_s)
        return commands + self._pursue(now_s)

    def campaign_failed(self, lease: int, now_s: float, *, is_over: bool) -> list[Command]:
        """No answer that says who leads: the key may be ours, may become ours later, or the lease ``is_over``."""
        if lease != self.lease or self.state is not S.CAMPAIGNING:
            return []
        if is_over:
            return self._lose(now_s, "its lease has ended", is_over=True)
        self._move(E.UNCLEAR)
        self._is_known = False
        self._back_off(now_s)
        return [Look()]

    def look_failed(self, now_s: float) -> list[Command]:
        """The leader key could not be read."""
        if not self._is_known:
            self._back_off(now_s)
            self._look_at_s = min(self._look_at_s, self._retry_s)
        return []

    # --- moves --------------------------------------------------------------------------------------------------------

    def _wants(self) -> bool:
        """Whether there is a leader key to be had: nobody has it, or somebody who is gone."""
        leader = self.leader
        if not self._is_known:
            return False
        return leader is None or leader.gone or leader.epoch == self._gone_epoch or leader.lease in self._former

    def _register(self) -> list[Command]:
        """One at a time: the store may be slow."""
        if self._is_registering:
            return []
        self._is_registering = True
        return [Register(self.lease)]

    def _pursue(self, now_s: float) -> list[Command]:
        if self.state is not S.STANDBY or now_s < max(self._retry_s, self._rest_until_s) or not self._wants():
            return []
        if self.leader is None:
            return self._campaign()
        self._evicted = self.leader.lease
        return [Evict(self._evicted), *self._campaign()]

    def _campaign(self) -> list[Command]:
        self._move(E.VACANT)
        return [Campaign(self.lease)]

    def _win(self, leader: Leader, revision: int, now_s: float) -> list[Command]:
        self._move(E.WON)
        self.epoch, self._won_revision = leader.epoch, revision
        if now_s >= self.deadline_s:
            return self._pause()
        return self._announce()

    def _announce(self) -> list[Command]:
        if self.state is not S.LEADING or self._is_announced:
            return []
        self._is_announced = True
        return [Elected(self.epoch, self._won_revision)]

    def _pause(self) -> list[Command]:
        """Without an end of its own: while no store answers nobody else can lead either, and when it answers it says
        whether our lease is there."""
        self._move(E.LATE)
        return [Paused()] if self._is_announced else []

    def _end_term(self, why: str) -> list[Command]:
        was_announced, self._is_announced, self.epoch = self._is_announced, False, 0
        return [Deposed(why)] if was_announced else []

    def _lose(self, now_s: float, why: str, *, is_over: bool = False) -> list[Command]:
        commands = self._end_term(why)
        if not is_over:
            commands.append(Release(self.lease))
        self._move(E.LOST)
        self._forget_lease()
        return commands + self._grant(now_s)

    def _forget_lease(self) -> None:
        self._former[self.lease] = None
        if len(self._former) > FORMER_LEASES_KEPT:
            del self._former[next(iter(self._former))]
        self.lease, self._is_registered, self._is_registering = 0, False, False

    def _grant(self, now_s: float) -> list[Command]:
        self._is_granting = True
        return [GrantLease(self.ttl_s, now_s)]

    def _back_off(self, now_s: float) -> None:
        self._retry_s = now_s + RETRY.delay_s(self._attempts, self._rng)
        self._attempts += 1

    def _deadline_s(self, sent_s: float) -> float:
        return sent_s + self.ttl_s * (1 - limits.LEADER_MARGIN_FRACTION)

    def _move(self, event: HeadEvent) -> None:
        self.state = HEAD_TABLE.next(self.state, event, self.head_id.hex())
