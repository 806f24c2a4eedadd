"""`linckia list`, `get`, `summary`, `memory`, `logs` and `kill-actor` on a cluster with an actor that outlives its
program.
"""

from __future__ import annotations

import json

import pytest

from tests.e2e.world import World

pytestmark = pytest.mark.e2e
PROGRAM = """
import linckia
linckia.init(address="auto", namespace="space")
@linckia.remote(num_cpus=0)
class Stays:
    def say(self):
        print("said by the actor")
        return linckia.put(b"x" * 200_000)
@linckia.remote
def square(x):
    return x * x
actor = Stays.options(name="stays", lifetime="detached").remote()
kept = linckia.get(actor.say.remote())
linckia.get([square.remote(n) for n in range(4)])
from linckia.util import state
assert state.summarize_tasks()["cluster"]["summary"]["square"]["state_counts"] == {"FINISHED": 4}
"""


@pytest.mark.row("8.5", "8.6", "8.7", "8.8", "8.9", "8.14")
def test_the_commands(world: World) -> None:
    world.linckia("start", "--head", "--num-cpus=1", "--port=0")
    world.python(world.script(PROGRAM))
    (actor,) = json.loads(world.linckia("list", "actors", "-f", "name=stays", "--format", "json"))
    assert (actor["class_name"], actor["state"], actor["ray_namespace"]) == ("Stays", "ALIVE", "space")
    assert "nothing" in world.linckia("list", "actors", "-f", "name=stays", "-f", "state!=ALIVE")
    assert "num_restarts: 0" in world.linckia("list", "actors", "--detail")
    (job,) = json.loads(world.linckia("list", "jobs", "--format=json"))
    assert job["status"] == "SUCCEEDED"
    told = json.loads(world.linckia("summary", "tasks", "--format=json"))
    assert told["summary"]["stays:Stays.__init__"]["state_counts"] == {"FINISHED": 1}
    assert "total: " in world.linckia("memory", "--units=KB")
    assert "said by the actor" in world.linckia("logs", "--actor-id", actor["actor_id"])
    for refused, says in (
        (("list", "actors", "-f", "nope=1"), "possible are"),
        (("get", "tasks", "ff"), "no tasks with the id ff"),
        (("kill-actor", "--name=nobody"), "nobody"),
    ):
        assert says in world.linckia(*refused, code=1)
    assert "has ended" in world.linckia("kill-actor", "--name=stays", "--namespace=space")
    dead = world.linckia("get", "actors", actor["actor_id"])
    assert "state: DEAD" in dead
    assert "__ray_terminate__" in dead
    world.linckia("stop")
