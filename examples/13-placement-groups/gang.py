"""Gang scheduling: four workers that start together or not at all, each in its own bundle of a placement group."""

import linckia
from linckia.cluster_utils import Cluster
from linckia.util import placement_group, placement_group_table, remove_placement_group
from linckia.util.scheduling_strategies import PlacementGroupSchedulingStrategy


@linckia.remote(num_cpus=1)
class Worker:
    def __init__(self, rank):
        self.rank = rank

    def report(self):
        return self.rank, linckia.get_runtime_context().get_node_id()


with Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0}) as cluster:
    cluster.add_node(num_cpus=2)
    group = placement_group([{"CPU": 1}] * 4, strategy="SPREAD")
    print("with one node of 2 CPUs:", group.wait(0.2), "-", placement_group_table(group)["reason"])
    assert not group.wait(0)

    cluster.add_node(num_cpus=2)
    assert group.wait(10)
    print("with a second node:", placement_group_table(group)["state"])
    workers = [
        Worker.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, rank)).remote(rank)
        for rank in range(4)
    ]
    places = linckia.get([worker.report.remote() for worker in workers])
    print("ranks", [rank for rank, _ in places], "on", len({node for _, node in places}), "nodes")
    remove_placement_group(group)
