"""Several heads that elect their leader over one shared store, in one thread on virtual time; one seed, one history.

``SimHeads(seed).run()`` lives one life: slow and lost answers, cut connections, clocks that run at other speeds, heads
that are stopped, killed, started again or told to step down. After each step at most one head serves; no write of an
old leader is ever carried out; epochs grow; a replica has what the store has. When the faults stop, somebody leads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from zlib import crc32

from linckia.core.leadership.records import LEADER_KEY, HeadFacts
from linckia.core.mvcc.records import (
    Event,
    EventKind,
    KeyValue,
    Put,
    Range,
    RangeResult,
    Txn,
    WatchBatch,
    WatchQuery,
    prefix_end,
)
from linckia.node.leadership import Leadership, LeadershipCalls, LeadershipOptions
from linckia.node.replica import Replica
from linckia.rpc.reactor import Timer
from linckia.store.errors import StoreError
from linckia.store.memory import MemoryStore
from linckia.testing.clock import VirtualClock
from linckia.testing.flaky_store import FlakyStore, StoreFaults

TTL_S = 2.0
FAULTS_S = 40.0
QUIET_S = 12.0
DRIFT = 0.1
WRITE_EVERY_S = 0.05
KINDS = ("cut", "stop", "kill", "step_down", "compact", "false_alarm")
ROBBED_S = TTL_S * (1 + DRIFT)  # so long a leader may serve on that was evicted though it lives
TRACE_KEPT = 60
LAST_WRITER = b"data/last"
DATA = b"data/"


class HeadsFailure(AssertionError):
    """A promise was broken; the message says how to see it again."""


@dataclass(frozen=True)
class HeadsSwarm:
    """Which faults this seed has."""

    heads: int
    lost: float
    slow_s: float
    compacted: float
    every_s: float  # between two faults
    kinds: tuple[str, ...]

    @classmethod
    def draw(cls, rng: Random) -> HeadsSwarm:
        """Each kind is on or off by itself."""

        def maybe(value: float) -> float:
            return value if rng.random() < 0.5 else 0.0

        kinds = tuple(kind for kind in KINDS if rng.random() < 0.6)
        return cls(
            heads=rng.choice((1, 2, 3, 3, 5)),
            lost=maybe(rng.uniform(0.01, 0.3)),
            slow_s=maybe(rng.uniform(0.1, 2.5)),
            compacted=maybe(rng.uniform(0.01, 0.2)),
            every_s=rng.uniform(0.3, 4.0),
            kinds=kinds or ("kill",),
        )


class SimHead:
    """One run of a head's process: it runs, is stopped, or is dead."""

    def __init__(self, world: SimHeads, number: int, predecessor: int) -> None:
        self.world, self.number = world, number
        self.pid = next(world.pids)
        self.rate = world.rng.uniform(1 - DRIFT, 1 + DRIFT)
        self.is_alive, self.is_stopped = True, False
        self.epoch = 0  # of the term it was told of
        self._held: deque[Callable[[], None]] = deque()
        faults = StoreFaults(slow_s=world.swarm.slow_s, lost=world.swarm.lost, compacted=world.swarm.compacted)
        rng = Random(f"head {world.seed} {self.pid}")
        self.store = FlakyStore(world.store, world.clock, rng, faults, self.run)
        facts = HeadFacts(b"head-%d" % number, f"10.0.0.{number}", 7000, self.pid)
        calls = LeadershipCalls(self.on_elected, self.on_deposed)
        options = LeadershipOptions(TTL_S, predecessor)
        self.leadership = Leadership(self.store, facts, self.call_later, calls, options, now_s=self.local_s, rng=rng)
        self.replica = Replica(self.store, DATA, self.on_error, self.call_later, rng)
        self.replica.start()
        self.leadership.start()

    # --- its machine --------------------------------------------------------------------------------------------------

    def local_s(self) -> float:
        """Its clock."""
        return self.pid * 1000.0 + self.rate * self.world.clock.now_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """In its time; the timer may be cancelled also while it is held back by a stop."""

        def fire() -> None:
            self.run(lambda: timer.callback())

        timer = Timer(0.0, callback)
        self.world.clock.call_later(delay_s / self.rate, fire)
        return timer

    def run(self, callback: Callable[[], None]) -> None:
        """Now, or when it goes on; never when it is dead."""
        if self.is_stopped:
            self._held.append(callback)
        elif self.is_alive:
            callback()

    def go_on(self) -> None:
        """SIGCONT."""
        self.is_stopped = False
        while self._held and not self.is_stopped:
            self.run(self._held.popleft())
            self.world.check()

    # --- what it does -------------------------------------------------------------------------------------------------

    @property
    def serves(self) -> bool:
        """It is there, and thinks that it may."""
        return self.is_alive and self.leadership.is_serving

    def on_elected(self, epoch: int, _revision: int) -> None:
        """Begin to write, as soon as the replica has everything."""
        self.world.elected(self, epoch)
        self.epoch = epoch
        self.replica.when_at(epoch, lambda: self._restored(epoch))

    def on_deposed(self, why: str) -> None:
        """Stop. What it was told of the leader key has to be true."""
        leader = self.world.leader_key()
        if leader is not None and leader.create_revision == self.epoch and ("key" in why or "another" in why):
            self.world.fail(f"head {self.number} was deposed ({why}) though it leads")
        self.world.tell(f"head {self.number} (pid {self.pid}) deposed from {self.epoch}: {why}")
        self.epoch = 0

    def on_error(self, error: StoreError) -> None:
        """None is expected."""
        self.world.fail(f"the replica of head {self.number} gave up: {error}")

    def _restored(self, epoch: int) -> None:
        if self.replica.revision < epoch:
            self.world.fail(f"the replica is behind: at {self.replica.revision} instead of {epoch}")
        self.world.compare(self.replica)
        self._write(epoch, 0)

    def _write(self, epoch: int, count: int) -> None:
        """As long as the term lasts, without asking whether it may: the fence has to hold."""
        if self.epoch == epoch and self.world.is_faulty:
            puts = (Put(LAST_WRITER, b"%d" % epoch), Put(DATA + b"%d" % (count % 7), b"%d/%d" % (epoch, count)))
            self.store.txn(Txn((self.leadership.fence,), puts), lambda _answer: self._write_next(epoch, count))

    def _write_next(self, epoch: int, count: int) -> None:
        """Leadership writes through the same store object: it must not stand behind a long queue."""
        self.call_later(WRITE_EVERY_S, lambda: self._write(epoch, count + 1))


class SimHeads:
    """One simulated life."""

    def __init__(self, seed: int, swarm: HeadsSwarm | None = None) -> None:
        self.seed = seed
        self.rng = Random(f"heads {seed}")
        self.swarm = swarm if swarm is not None else HeadsSwarm.draw(self.rng)
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.pids = iter(range(1, 100_000))
        self.trace: deque[str] = deque(maxlen=TRACE_KEPT)
        self.is_faulty = True
        self.epochs: list[int] = []
        self.serving_s = 0.0
        self.digest = 0  # of everything that was told
        self._overlap_s = 0.0
        self._last_writer = 0
        self._checked_s = self.clock.now_s
        self.store.watch(WatchQuery(LAST_WRITER), self._on_written)
        self.heads = [SimHead(self, number, 0) for number in range(self.swarm.heads)]

    def run(self) -> SimHeads:
        """Live it. HeadsFailure names the broken promise and the seed."""
        end_s = self.clock.now_s + FAULTS_S
        self.clock.call_later(self.rng.uniform(0.0, self.swarm.every_s), self._fault)
        self._go_until(lambda: self.clock.now_s >= end_s)
        self._stop_faults()
        healed_s = self.clock.now_s
        self._go_until(lambda: self.clock.now_s >= healed_s + TTL_S, healed_s + QUIET_S)  # leases that were missed
        self._go_until(self._is_settled, healed_s + QUIET_S)
        leader = next(head for head in self.heads if head.serves)
        terms = len(self.epochs)
        still_s = self.clock.now_s + 3 * TTL_S
        self._go_until(lambda: self.clock.now_s >= still_s)
        if not leader.serves or len(self.epochs) != terms:
            self.fail("without faults the leader changed")
        for head in self.heads:
            self.compare(head.replica)
        return self

    # --- faults -------------------------------------------------------------------------------------------------------

    def _fault(self) -> None:
        if not self.is_faulty:
            return
        rng, head = self.rng, self.rng.choice(self.heads)
        leaders = [each for each in self.heads if each.epoch and each.is_alive]
        if leaders and rng.random() < 0.6:
            head = rng.choice(leaders)
        for_s = rng.choice((0.05, 0.5, TTL_S, TTL_S + 1.0)) * rng.uniform(0.5, 1.5)
        match rng.choice(self.swarm.kinds):
            case "cut":
                self.tell(f"head {head.number} is cut off for {for_s:.2f} s")
                head.store.cut(is_cut=True)
                self.clock.call_later(for_s, lambda: head.store.cut(is_cut=False))
            case "stop" if head.is_alive and not head.is_stopped:
                self.tell(f"head {head.number} is stopped for {for_s:.2f} s")
                head.is_stopped = True
                self.clock.call_later(for_s, head.go_on)
            case "kill" if head.is_alive:
                self._kill(head, for_s)
            case "step_down":
                head.run(lambda: self._step_down(head))
            case "false_alarm" if head.is_alive and head.leadership.epoch:
                self.tell(f"head {head.number} is said to be gone, which is not true")
                epoch = head.leadership.epoch
                for other in self.heads:
                    other.run(partial(other.leadership.leader_gone, epoch))
            case "compact":
                self.store.compact(self._revision(), lambda _answer: None)
            case _:
                pass
        self.clock.call_later(rng.uniform(0.2, 1.8) * self.swarm.every_s, self._fault)

    def _kill(self, head: SimHead, for_s: float) -> None:
        """Perhaps somebody sees it; after a while it is started again, perhaps knowing of its predecessor."""
        self.tell(f"head {head.number} (pid {head.pid}, epoch {head.leadership.epoch}) is killed")
        epoch = head.leadership.epoch
        head.is_alive = False
        if epoch and self.rng.random() < 0.5:
            for other in self.heads:
                seen_s = self.rng.uniform(0.0, self.rng.choice((0.02, 1.0)))
                self.clock.call_later(seen_s, partial(other.run, partial(other.leadership.leader_gone, epoch)))
        predecessor = head.pid if self.rng.random() < 0.5 else 0
        self.clock.call_later(for_s, lambda: self._restart(head, predecessor))

    def _restart(self, head: SimHead, predecessor: int) -> None:
        if not head.is_alive and head in self.heads:
            self.heads[self.heads.index(head)] = SimHead(self, head.number, predecessor)

    def _step_down(self, head: SimHead) -> None:
        if head.leadership.step_down("told to"):
            self.tell(f"head {head.number} steps down")

    def _stop_faults(self) -> None:
        self.tell("the faults stop")
        self.is_faulty = False
        for head in list(self.heads):
            self._restart(head, 0)
        for head in self.heads:
            head.store.cut(is_cut=False)
            head.store.faults = StoreFaults()
            if head.is_stopped:
                head.go_on()

    # --- what must hold -----------------------------------------------------------------------------------------------

    def _go_until(self, holds: Callable[[], bool], until_s: float = float("inf")) -> None:
        while not holds():
            if not self.clock.step():
                self.fail("nothing will ever happen again")
            if self.clock.now_s > until_s:
                self.fail(f"nobody leads, or not everybody knows it, {QUIET_S:g} s after the faults stopped")
            self.check()

    def check(self) -> None:
        """After each step."""
        serving = [head for head in self.heads if head.serves]
        self._overlap_s += self.clock.now_s - self._checked_s if len(serving) > 1 else -self._overlap_s
        if len(serving) > 1 and ("false_alarm" not in self.swarm.kinds or self._overlap_s > ROBBED_S):
            both = " and ".join(f"head {head.number} (epoch {head.epoch})" for head in serving)
            self.fail(f"{both} serve at once")
        if serving:
            self.serving_s += self.clock.now_s - self._checked_s
        self._checked_s = self.clock.now_s

    def elected(self, head: SimHead, epoch: int) -> None:
        """Terms grow."""
        self.tell(f"head {head.number} (pid {head.pid}) elected: {epoch}")
        if self.epochs and epoch <= self.epochs[-1]:
            self.fail(f"head {head.number} was elected for epoch {epoch} after {self.epochs[-1]}")
        self.epochs.append(epoch)

    def _on_written(self, batch: WatchBatch | StoreError) -> None:
        events: tuple[Event, ...] = batch.events if isinstance(batch, WatchBatch) else ()
        for event in events:
            if event.kind is EventKind.PUT:
                if int(event.kv.value) < self._last_writer:
                    self.fail(f"epoch {int(event.kv.value)} wrote after epoch {self._last_writer}")
                self._last_writer = int(event.kv.value)

    def compare(self, replica: Replica) -> None:
        """It is the store at its revision."""
        there = self._read(Range(DATA, prefix_end(DATA), replica.revision))
        if (
            there is not None
            and {kv.key: kv.value for kv in there.kvs if kv.key != DATA + b"~replica"} != replica.records
        ):
            self.fail(f"a replica at revision {replica.revision} differs from the store")

    def _is_settled(self) -> bool:
        leaders = [head for head in self.heads if head.serves]
        views = {(view.epoch, view.leader, view.heads) for view in (head.leadership.view for head in self.heads)}
        ready = len(leaders) == 1 and len(views) == 1
        return ready and len(leaders[0].leadership.view.heads) == len(self.heads)

    def _read(self, query: Range) -> RangeResult | None:
        """At once, past every fault; None when that revision is compacted."""
        try:
            return self.store._state.mvcc.range(query)
        except StoreError:
            return None

    def leader_key(self) -> KeyValue | None:
        """As it is."""
        return self.store._state.mvcc.space.now(LEADER_KEY)

    def _revision(self) -> int:
        return self.store._state.mvcc.revision

    def tell(self, text: str) -> None:
        """For the trace of a failure."""
        line = f"{self.clock.now_s:9.3f} {text}"
        self.digest = crc32(line.encode(), self.digest)
        self.trace.append(line)

    def fail(self, what: str) -> None:
        """Say what, and how to see it again."""
        history = "\n".join(self.trace)
        raise HeadsFailure(
            f"{what}\nseed {self.seed}, {self.swarm}\n{history}\n"
            f"replay: make sim SEED={self.seed} PYTEST_ARGS='-k test_heads'"
        )
