"""The scenarios: what programs ask of a fleet, and what happens to it meanwhile. Sizes follow the number of machines.

Each is a function on a formed cluster; ``world.py`` stops the faults after it and sees that everything ends.
"""

from __future__ import annotations

from random import Random

import msgspec

from linckia.base.callbacks import nobody_cares
from linckia.base.limits import NODE_ANSWER_MAX_S
from linckia.model.placement import Strategy
from linckia.testing.checks import require
from linckia.testing.fleet.checks import check_group
from linckia.testing.fleet.driver import FleetDriver, Gang
from linckia.testing.fleet.growth import Growth, growth
from linckia.testing.fleet.heads import SimHead
from linckia.testing.fleet.machine import SimMachine
from linckia.testing.fleet.scenario import Scenario
from linckia.testing.fleet.world import Fleet
from linckia.testing.node import HEAD

SPREAD = msgspec.msgpack.encode(Strategy("SPREAD"))
IN_ZONE = msgspec.msgpack.encode(Strategy(selectors=[{"zone": "in(z1, z2)"}]))
STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
HOPELESS = 250
PARTITION_S = 25.0
STREAM_S = 15
STARTS_S, START_EVERY_S, FAULT_EVERY_S = 24.0, 0.05, 4.5
START_MAX_S = 2 * (NODE_ANSWER_MAX_S + 1.0)


def programs(fleet: Fleet, count: int) -> list[FleetDriver]:
    """So many drivers, each on a machine of its own, registered."""
    machines = fleet.rng.sample(fleet.workers_of_fleet(), count)
    ready: list[FleetDriver] = []
    drivers = [fleet.driver(machine, ready.append) for machine in machines]
    fleet.settle("drivers register", lambda: len(ready) == count)
    return drivers


# --- gang storms ------------------------------------------------------------------------------------------------------


def gang_storm(fleet: Fleet) -> None:
    """More gangs than fit, all at once, behind many actors that nothing can run; some have tasks and actors inside."""
    rng = fleet.rng
    drivers = programs(fleet, 4)
    hopeless = [drivers[0].create_actor({"unobtainium": 1.0}, -1.0, max_restarts=0) for _ in range(HOPELESS)]
    gangs = [a_gang(fleet, rng.choice(drivers)) for _ in range(fleet.nodes * 6 // 10)]
    early = [(driver, early_work(driver)) for driver in drivers]
    fleet.advance(0.3)
    servants = [rng.choice(drivers).create_actor({"CPU": 3.0}, 1.0) for _ in range(fleet.nodes // 2)]
    fleet.settle("every gang gets its nodes", lambda: all(gang.was_created for gang in gangs))
    fleet.settle("every actor that can run runs", lambda: all(each.was_alive for each in servants))
    fleet.settle("tasks that were there first run", lambda: not any(driver.waits(gang) for driver, gang in early))
    for driver, gang in early:
        driver.remove_group(gang)
    require(not any(each.was_alive for each in hopeless), "an actor runs where it cannot")
    for each in hopeless:
        drivers[0].kill_actor(each)


def a_gang(fleet: Fleet, driver: FleetDriver) -> Gang:
    """Of any strategy, with or without work inside."""
    rng = fleet.rng
    strategy = rng.choice(STRATEGIES)
    bundle = {"CPU": rng.choice([0.5, 1.0, 2.0])}
    count = rng.randint(1, 2) if strategy == "STRICT_PACK" else rng.randint(4, 12)
    if rng.random() < 0.05:
        bundle, count = {"GPU": 1.0, "CPU": 1.0}, 2
    inside = rng.choice(["nothing", "tasks", "actor"])

    def then(gang: Gang) -> None:
        check_group(fleet, gang.spec.group_id)
        if inside == "tasks":
            driver.submit(driver.inside(gang, {"CPU": 0.5}), [0.05] * 4)
        elif inside == "actor":
            driver.create_actor(driver.inside(gang, {"CPU": 0.5}), 0.2)

    return driver.create_group([bundle] * count, strategy, rng.uniform(0.5, 2.0), then)


def early_work(driver: FleetDriver) -> Gang:
    """A group, and tasks for it that are there before it is."""
    made = driver.create_group([{"CPU": 1.0}] * 2, "SPREAD", -1.0)
    driver.submit(driver.inside(made, {"CPU": 0.5}), [0.05] * 4)
    return made


# --- room beside others -----------------------------------------------------------------------------------------------


def stream(fleet: Fleet) -> None:
    """The tasks of one program are more than fit, all the time; actors and gangs of another one get room even so."""
    greedy, modest = programs(fleet, 2)
    for second in range(STREAM_S):
        fleet.clock.call_later(float(second), lambda: greedy.submit({"CPU": 1.0}, [0.25] * fleet.nodes * 24))
    fleet.advance(2.0)
    servants = [modest.create_actor({"CPU": 1.0}, 1.0) for _ in range(fleet.nodes // 2)]
    gangs = [modest.create_group([{"CPU": 1.0}] * 3, strategy, 0.5) for strategy in STRATEGIES]
    fleet.settle("actors get room beside a stream of tasks", lambda: all(each.was_alive for each in servants), 10.0)
    fleet.settle("gangs get room beside a stream of tasks", lambda: all(gang.was_created for gang in gangs), 10.0)
    require(any(key.queue for key in greedy.keys.values()), "the stream has ended before")


# --- churn ------------------------------------------------------------------------------------------------------------


def churn(fleet: Fleet, events: int | None = None, for_s: float = 12.0) -> None:
    """Machines crash, leave, drain and come back while tasks, actors and gangs go on."""
    drivers = programs(fleet, 4)
    steady_work(fleet, drivers, for_s)
    kept = {driver.machine for driver in drivers}  # one loses its machine later
    for _ in range(max(8, fleet.nodes // 8) if events is None else events):
        fleet.clock.call_later(fleet.rng.uniform(0.0, for_s), lambda: misfortune(fleet, kept))
    fleet.clock.call_later(for_s * 0.6, lambda: end_for_good(fleet, drivers[0].machine))
    fleet.advance(for_s)
    machines = fleet.nodes + 1
    fleet.settle("machines that went are back", lambda: len(fleet.living()) == machines)


def steady_work(fleet: Fleet, drivers: list[FleetDriver], for_s: float) -> None:
    """Each program has something new to do every second or so."""
    rng = Random(f"work {fleet.seed}")
    each = min(40, max(4, fleet.nodes // 8))

    def more(driver: FleetDriver) -> None:
        if not driver.alive:
            return
        durations = [rng.choice([0.02, 0.1, 0.5, 1.5]) for _ in range(rng.randint(1, each))]
        driver.submit({"CPU": rng.choice([0.5, 1.0, 2.0])}, durations, rng.choice([b"", b"", SPREAD, IN_ZONE]))
        driver.create_actor({"CPU": 1.0}, rng.uniform(0.5, 4.0), name=rng.choice(["", "alice", "bob"]))
        a_gang(fleet, driver)
        if fleet.scenario.faults is None:  # or its removal could overtake it
            changes_its_mind(fleet, driver, rng)

    for driver in drivers:
        for second in range(int(for_s)):
            fleet.clock.call_later(second + rng.random(), lambda driver=driver: more(driver))  # type: ignore[misc]


def changes_its_mind(fleet: Fleet, driver: FleetDriver, rng: Random) -> None:
    """A group that is removed again before, while or after its nodes are asked."""
    gang = driver.create_group([{"CPU": 0.5}] * rng.randint(1, 6), rng.choice(STRATEGIES), -1.0)
    fleet.clock.call_later(rng.uniform(0.0, 0.02), lambda: driver.remove_group(gang) if driver.alive else None)


def misfortune(fleet: Fleet, kept: set[SimMachine]) -> None:
    """One machine or worker process, in one of several ways."""
    rng = fleet.rng
    machine = rng.choice(fleet.workers_of_fleet())
    kind = rng.choice(["crash", "crash", "leave", "drain", "worker", "worker"])
    if kind == "worker":
        if machine.workers:
            machine.end_worker(rng.choice(list(machine.workers)), "a random death")
        return
    if machine in kept or not machine.registered:
        return
    if kind == "drain":
        fleet.head.nodes.drain(machine.node_id, "PREEMPTION", 5.0)
        fleet.clock.call_later(2.0, lambda: leave(fleet, machine))
    elif kind == "leave":
        leave(fleet, machine)
    else:
        fleet.end(machine, "a random death")
        fleet.again(machine, rng.uniform(0.5, 3.0))


def end_for_good(fleet: Fleet, machine: SimMachine) -> None:
    """It crashes with the program on it."""
    fleet.end(machine, "the death of a driver's machine")
    fleet.again(machine, 1.0)


def leave(fleet: Fleet, machine: SimMachine) -> None:
    """It says good-bye and comes back as another node."""
    if machine.alive:
        fleet.end(machine, "it is stopped", on_purpose=True)
        fleet.again(machine, 1.0)


# --- partition --------------------------------------------------------------------------------------------------------


def partition(fleet: Fleet) -> None:
    """60 % of the machines are cut off for longer than a lease: nobody is killed, nothing is launched (S 19)."""
    rng = fleet.rng
    grown = growth(fleet, fleet.nodes // 10, delay_s=1.0, idle_timeout_s=3.0)
    drivers = programs(fleet, 4)
    mine = {driver.machine.node_id for driver in drivers}
    steady_work(fleet, drivers, 6.0)
    fleet.advance(4.0)
    others = [machine.node_id for machine in fleet.workers_of_fleet() if machine.node_id not in mine]
    island = rng.sample(others, len(fleet.living()) * 6 // 10)
    fleet.network.isolate(island, PARTITION_S)
    for driver in drivers:  # more than what is left can do at once
        driver.submit({"CPU": 1.0}, [0.5] * min(400, fleet.nodes * 4))
    fleet.advance(PARTITION_S - 1.0)
    require(fleet.head.nodes.directory.braked_since_s is not None, "the brake is not pulled")
    dead = [(node_id, why) for node_id, why in fleet.deaths if node_id in island]
    require(not dead, f"nodes died under the brake: {dead}")
    fleet.advance(2.0)
    fleet.settle("the brake is released", lambda: fleet.head.nodes.directory.braked_since_s is None, 5.0)
    known = fleet.head.nodes.nodes  # the autoscaler may end what is idle, once the brake is released
    lost = [each for each in island if not fleet.machines[each].alive and not known[each].drain]
    require(not lost, f"machines ended though they were only cut off: {lost}")
    grown.stop()


# --- starts -----------------------------------------------------------------------------------------------------------


def starts(fleet: Fleet) -> None:
    """Actors are made all the time while machines do not hear the head, are not heard, or die. Each incarnation begins
    once, and what nobody has begun waits for no verdict on a machine.
    """
    rng = fleet.rng
    drivers = programs(fleet, 2)
    fleet.constructor_s = lambda: rng.choice([0.01, 0.5, 4.0])
    kept = {driver.machine for driver in drivers}
    for tick in range(int(STARTS_S / START_EVERY_S)):
        fleet.clock.call_later(tick * START_EVERY_S, lambda: a_start(fleet, rng.choice(drivers)))
    for number in range(int(STARTS_S / FAULT_EVERY_S)):  # one after the other: each is noticed before the next
        fleet.clock.call_later(number * FAULT_EVERY_S, lambda: go_silent(fleet, kept))
    fleet.advance(STARTS_S)
    fleet.settle("all are heard", lambda: not any(fleet.network.is_cut(name, HEAD) for name in fleet.machines), 60.0)
    fleet.advance(1.0)


def a_start(fleet: Fleet, driver: FleetDriver) -> None:
    """It begins somewhere, soon, whatever machine was asked first, and second."""
    rng = fleet.rng
    restarts = rng.choice([0, 0, 3])
    servant = driver.create_actor({"CPU": 0.25}, rng.uniform(0.5, 4.0), max_restarts=restarts, strategy=SPREAD)
    driver.submit({"CPU": 0.25}, [0.02])

    def look() -> None:
        begun = (servant.actor_id, 0) in fleet.begun
        require(begun, f"{servant.actor_id!r} has not begun anywhere after {START_MAX_S} s")

    fleet.clock.call_later(START_MAX_S, look)


def go_silent(fleet: Fleet, kept: set[SimMachine]) -> None:
    """One machine, in one of several ways, for a moment or for longer than a lease."""
    rng = fleet.rng
    heard = [each for each in fleet.workers_of_fleet() if not fleet.network.is_cut(each.node_id, HEAD)]
    machine = rng.choice([each for each in heard if each not in kept and each.registered])
    kind, for_s = rng.choice(["mute", "deaf", "cut", "crash"]), rng.choice([0.5, 2.0, 4.0, 9.0, 20.0])
    fleet.note(f"{machine.node_id!r}: {kind} for {for_s} s")
    if kind == "crash":
        fleet.end(machine, "a random death")
        fleet.again(machine, rng.uniform(0.5, 3.0))
        return
    if kind != "deaf":
        fleet.network.cut(machine.node_id, HEAD, for_s)
    if kind != "mute":
        fleet.network.cut(HEAD, machine.node_id, for_s)


# --- messages ---------------------------------------------------------------------------------------------------------


def lossy(fleet: Fleet) -> None:
    """Requests and answers are lost, doubled, late; connections to the head stall (S 21)."""
    drivers = programs(fleet, 4)
    steady_work(fleet, drivers, 8.0)
    fleet.network.mean_delay_s = 0.005
    for _ in range(max(10, fleet.nodes // 10)):
        fleet.clock.call_later(fleet.rng.uniform(0.0, 8.0), lambda: hiccup(fleet))
    fleet.advance(8.0)
    fleet.network.mean_delay_s = 0.001


def hiccup(fleet: Fleet) -> None:
    """What a machine says to the head, or hears from it, stalls for a while."""
    machine = fleet.rng.choice(fleet.workers_of_fleet())
    one, other = (HEAD, machine.node_id) if fleet.rng.random() < 0.5 else (machine.node_id, HEAD)
    fleet.network.cut(one, other, fleet.rng.uniform(0.1, 6.0))


def broken_links(fleet: Fleet) -> None:
    """Connections between machines and the head break, and what is on its way on them is lost; they come back."""
    drivers = programs(fleet, 4)
    steady_work(fleet, drivers, 8.0)
    for _ in range(max(10, fleet.nodes // 10)):
        fleet.clock.call_later(fleet.rng.uniform(0.0, 8.0), lambda: break_link(fleet))
    fleet.advance(8.0)


def break_link(fleet: Fleet) -> None:
    """Of one machine."""
    machine = fleet.rng.choice(fleet.workers_of_fleet())
    fleet.note(f"the connection of {machine.node_id!r} breaks")
    fleet.network.sever(machine.node_id, HEAD)


# --- heads ------------------------------------------------------------------------------------------------------------


def heads(fleet: Fleet) -> None:
    """Heads are killed, and others take over with the store, while machines, workers and connections fail too, also
    those to the store. Work that runs goes on; nothing that was acknowledged is lost; nothing runs twice.
    """
    drivers = programs(fleet, 4)
    steady_work(fleet, drivers, 12.0)
    kept = {driver.machine for driver in drivers}
    for _ in range(max(10, fleet.nodes // 10)):
        fleet.clock.call_later(fleet.rng.uniform(0.0, 12.0), lambda: misfortune(fleet, kept))
        fleet.clock.call_later(fleet.rng.uniform(0.0, 12.0), lambda: break_link(fleet))
    for _ in range(fleet.rng.choice([0, 2])):
        fleet.clock.call_later(fleet.rng.uniform(0.0, 12.0), lambda: fleet.cut_store(fleet.rng.uniform(0.05, 3.0)))
    at_s = 0.0
    while at_s < 11.0:
        at_s += fleet.rng.uniform(0.5, 4.0)
        gap_s = fleet.rng.choice([0.0, 0.05, 0.3, 2.0])
        fleet.clock.call_later(at_s, fleet.kill_head)
        fleet.clock.call_later(at_s + gap_s, fleet.next_head)
        at_s += gap_s
    fleet.advance(at_s + 1.0)
    machines = fleet.nodes + 1
    fleet.settle("machines that went are back", lambda: len(fleet.living()) == machines)


# --- autoscaling ------------------------------------------------------------------------------------------------------


def autoscale(fleet: Fleet) -> None:
    """Constant demand, slow machines: finitely many launches, and nodes that a waiting gang needs stay (P 41)."""
    grown = growth(fleet, fleet.nodes, delay_s=8.0, idle_timeout_s=4.0)
    driver = programs(fleet, 1)[0]
    need = {"CPU": 4.0}
    gang = driver.create_group([need] * (fleet.nodes + fleet.nodes // 2), "STRICT_SPREAD", -1.0)
    driver.create_actor({"unobtainium": 1.0}, -1.0, max_restarts=0)
    fleet.settle("the gang gets its nodes", lambda: gang.was_created, 240.0)
    fleet.advance(10.0)
    before = len(grown.launched) + len(grown.ended)
    fleet.advance(300.0)
    after = len(grown.launched) + len(grown.ended)
    require(after == before, f"constant demand, and {after - before} more actions: {grown.launched} {grown.ended}")
    driver.remove_group(gang)
    driver.kill_actor(next(iter(driver.servants.values())))
    fleet.settle("what is not needed ends", lambda: len(fleet.living()) == fleet.nodes + 1, 60.0)
    grown.stop()


def scaling_heads(fleet: Fleet) -> None:
    """Heads and autoscalers die while nodes are asked for, come, are drained and ended: what a gang needs is launched
    once, whoever leads, and everything that was launched is ended when nothing needs it.
    """
    rng = fleet.rng
    wanted = max(2, fleet.nodes // 4)
    grown = growth(fleet, 4 * wanted, delay_s=4.0, idle_timeout_s=3.0, lag_s=2.0)
    driver = programs(fleet, 1)[0]
    gang = driver.create_group([{"CPU": 4.0}] * (fleet.nodes + wanted), "STRICT_SPREAD", -1.0)
    grown.on_launch = lambda: perhaps_die_now(fleet)
    deaths(fleet, grown, 16.0)
    grown.on_launch = nobody_cares
    fleet.settle("the gang gets its nodes", lambda: gang.was_created, 240.0)
    require(len(grown.launched) == wanted, f"{wanted} nodes were needed, launched were {grown.launched}")
    fleet.advance(rng.uniform(0.0, 3.0))
    driver.remove_group(gang)
    deaths(fleet, grown, 16.0)
    fleet.settle("what is not needed ends", lambda: len(fleet.living()) == fleet.nodes + 1, 120.0)
    fleet.settle("no instance is left", lambda: not fleet.head.scaling.instances, 60.0)
    require(len(grown.launched) == wanted, f"more was launched without need: {grown.launched}")
    grown.stop()


def perhaps_die_now(fleet: Fleet) -> None:
    """A head dies while it has something launched."""
    process = fleet.head_process
    if fleet.rng.random() < 0.3 and process is not None and process.alive:
        fleet.clock.call_later(fleet.rng.uniform(0.0, 0.02), lambda: replace_head(fleet, process))


def replace_head(fleet: Fleet, process: SimHead) -> None:
    """That one, unless it is dead already."""
    if process.alive:
        fleet.kill_head()
        fleet.next_head()


def deaths(fleet: Fleet, grown: Growth, for_s: float) -> None:
    """Of heads, and of autoscalers alone, now and then."""
    rng, at_s = fleet.rng, 0.0
    while at_s < for_s:
        gap_s = rng.choice([0.0, 0.05, 0.3, 2.0])
        at_s += rng.uniform(0.1, 3.0)
        if rng.random() < 0.4:
            fleet.clock.call_later(at_s, grown.crash)
        else:
            fleet.clock.call_later(at_s, fleet.kill_head)
            fleet.clock.call_later(at_s + gap_s, fleet.next_head)
            at_s += gap_s
    fleet.advance(at_s + 1.0)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("gangs", gang_storm),
        Scenario("stream", stream),
        Scenario("churn", churn),
        Scenario("partition", partition),
        Scenario("starts", starts),
        Scenario("lossy", lossy, faults=(0.15, 0.15, 0.3)),
        Scenario("autoscale", autoscale),
        Scenario("links", broken_links),
        Scenario("heads", heads, has_store=True),
        Scenario("scaling", scaling_heads, has_store=True),
    )
}
