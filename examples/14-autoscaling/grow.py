"""A cluster that grows with its work and shrinks again: a head without CPUs and one worker group."""

import time

import linckia
from linckia.cluster_utils import AutoscalingCluster

workers = {"small": {"resources": {"CPU": 1}, "max_workers": 3, "idle_timeout_s": 1}}


@linckia.remote
def work(number):
    time.sleep(0.3)
    return linckia.get_runtime_context().get_node_id()


def cpus():
    return linckia.cluster_resources().get("CPU", 0)


cluster = AutoscalingCluster(head_resources={"CPU": 0}, worker_node_types=workers)
cluster.start()
cluster.connect()
try:
    print("before:", cpus(), "CPUs")
    nodes = linckia.get([work.remote(number) for number in range(9)])
    print("nine tasks ran on", len(set(nodes)), "nodes that were started for them")
    while cpus():
        time.sleep(0.1)
    print("after:", cpus(), "CPUs")
finally:
    linckia.shutdown()
    cluster.shutdown()
