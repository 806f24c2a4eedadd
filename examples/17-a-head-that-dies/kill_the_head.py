"""The head dies in the middle: what runs goes on, what it knew is there again."""

import os
import signal

import linckia
from linckia.cluster_utils import Cluster
from linckia.experimental import heads


@linckia.remote
class Counter:
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count


cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": "session"})  # `linckia start --head`
try:
    cluster.add_node(num_cpus=2)
    cluster.connect()
    kept = Counter.options(name="kept").remote()
    linckia.get(kept.add.remote())

    (head,) = heads()
    os.kill(head["pid"], signal.SIGKILL)  # its node starts another one, which reads what this one wrote down

    print("the actor went on:", linckia.get(kept.add.remote()))
    print("found by its name:", linckia.get(linckia.get_actor("kept").add.remote()))
    print("a new actor:", linckia.get(Counter.remote().add.remote()))
    (other,) = heads()
    print("another head process:", other["pid"] != head["pid"])
finally:
    linckia.shutdown()
    cluster.shutdown()
