"""What the head's tables hold, and what they have forgotten: rows of `linckia status -v` (P 7), and counts by state."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from linckia.core.objects.keepers import KeeperTable
from linckia.gcs.actors import ActorService
from linckia.gcs.nodes import NodeService
from linckia.gcs.placement_groups import GroupService
from linckia.gcs.service import Gcs


def state_counts(gcs: Gcs, actors: ActorService, groups: GroupService) -> dict[str, dict[str, int]]:
    """How many of each state: actors and placement groups (what is remembered of those that ended included), jobs."""
    ended = len(gcs.ended_jobs)
    return {
        "actors": dict(Counter(actor.state.value for actor in actors.directory.actors.values())),
        "placement_groups": dict(Counter(group.state.value for group in groups.directory.groups.values())),
        "jobs": {"RUNNING": len(gcs.jobs) - ended, "FINISHED": ended},
    }


def table_rows(
    gcs: Gcs, nodes: NodeService, actors: ActorService, groups: GroupService, keepers: KeeperTable
) -> list[dict[str, Any]]:
    """One for each table."""
    of_actors, of_groups, dead = actors.directory, groups.directory, nodes.dead
    facts = [
        of_actors.dead.facts("actors", len(of_actors.actors) - len(of_actors.dead)),
        gcs.ended_jobs.facts("jobs", len(gcs.jobs) - len(gcs.ended_jobs)),
        dead.facts("nodes", len(nodes.nodes) - len(dead)),
        of_groups.gone.facts("placement_groups", len(of_groups.groups) - len(of_groups.gone)),
        actors.removed_groups.facts("removed_group_ids", 0),
        gcs.kv.facts(),
        gcs.recent.facts("replies"),
        gcs.profile_events.facts("task_events"),
        nodes.events.facts("cluster_events"),
        keepers.facts(),
    ]
    return [msgspec.structs.asdict(each) for each in facts]
