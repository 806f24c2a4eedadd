"""One program over three nodes: real node processes on this machine, joined over TCP as three machines would be."""

from collections import Counter

import linckia
from linckia.cluster_utils import Cluster
from linckia.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def here():
    return linckia.get_runtime_context().get_node_id()


@linckia.remote
def where(number):
    return here()


@linckia.remote(num_cpus=1, max_restarts=1, max_task_retries=-1)
class Counted:
    def where(self):
        return here()


with Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1}) as cluster:
    cluster.add_node(num_cpus=2, labels={"zone": "east"})
    west = cluster.add_node(num_cpus=2, labels={"zone": "west"})
    names = {node["NodeID"]: node["Labels"].get("zone", "head") for node in linckia.nodes()}

    spread = linckia.get([where.options(scheduling_strategy="SPREAD").remote(n) for n in range(30)])
    print("SPREAD:", dict(Counter(names[node_id] for node_id in spread)))
    assert len(set(spread)) == 3

    chosen = linckia.get(where.options(label_selector={"zone": "west"}).remote(0))
    print("label_selector zone=west:", names[chosen])
    assert chosen == west.node_id

    bound = NodeAffinitySchedulingStrategy(west.node_id, soft=True)
    actor = Counted.options(scheduling_strategy=bound).remote()
    assert linckia.get(actor.where.remote()) == west.node_id
    cluster.remove_node(west, allow_graceful=False)  # SIGKILL: as if somebody had pulled the plug
    print("its node was killed; the actor went on at:", names[linckia.get(actor.where.remote())])
