"""Replicas: a result that must not be computed twice survives the node it was made on."""

import time

import linckia
from linckia.cluster_utils import Cluster
from linckia.experimental import get_object_locations


@linckia.remote(replicas=2, max_retries=0)
def expensive():
    return bytes(range(256)) * 4096


def nodes_of(ref):
    return get_object_locations([ref])[ref]["node_ids"]


def wait_for_copies(ref, count):
    while len(nodes_of(ref)) < count:
        time.sleep(0.02)


cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0})
nodes = {node.node_id: node for node in (cluster.add_node(num_cpus=1) for _ in range(3))}
try:
    ref = expensive.remote()
    wait_for_copies(ref, 2)
    victim = next(node_id for node_id in nodes_of(ref) if node_id in nodes)
    cluster.remove_node(nodes[victim], allow_graceful=False)  # as if the machine had lost its power
    wait_for_copies(ref, 2)
    print("two copies again, on other nodes:", victim not in nodes_of(ref))
    print("the value:", len(linckia.get(ref)), "bytes, computed once")
finally:
    linckia.shutdown()
    cluster.shutdown()
