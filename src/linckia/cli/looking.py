"""`linckia status`, `drain-node`, `get-auth-token`: questions to clusters, without joining them as a program.

Called by cli/main.py. Without an address these are the clusters of this user on this machine.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from linckia.cli.clusters import Cluster, living
from linckia.cli.starting import refuse
from linckia.host import environment, session, tokens
from linckia.protocol import messages as m
from linckia.rpc.ask import AskError, ask

GIB = 1024**3
MIB = 1024**2
_RID = 1


# --- status -----------------------------------------------------------------------------------------------------------


def show_status(address: str, *, as_json: bool, verbose: bool) -> bool:
    """Print all clusters; False when there are none."""
    if address:
        reports = [_report_at(address)]
    else:
        chosen: dict[str, Cluster] = {}
        for cluster in living():  # of several nodes of one cluster, the head's or the first
            key = cluster.facts.get("cluster_address") or cluster.name
            if key not in chosen or cluster.facts.get("is_head"):
                chosen[key] = cluster
        reports = [_report(cluster) for cluster in chosen.values()]
    if as_json:
        first: dict[str, Any] = reports[-1] if reports else {}
        keys = ("nodes", "demands", "placement_groups", "resources", "available", "autoscaler", "heads")
        more = ("tables", "dashboards")
        print(json.dumps({**{key: first.get(key, []) for key in (*keys, *more)}, "clusters": reports}, indent=2))
    elif not reports:
        print(
            "no cluster of yours runs on this machine; `linckia start --head` starts one, linckia.init() a private one"
        )
    if address and reports[0]["error"]:
        refuse(reports[0]["error"])
        return False
    for report in reports if not as_json else []:
        _print_report(report, verbose=verbose)
    return bool(reports)


def _report(cluster: Cluster) -> dict[str, Any]:
    """What is known about a cluster of this machine; `error` says why the rest is missing."""
    born_s = Path(cluster.path, "lock").stat().st_mtime
    report: dict[str, Any] = {
        "session": cluster.name,
        "session_dir": cluster.path,
        "address": cluster.facts.get("cluster_address") or cluster.facts.get("endpoint", ""),
        "pid": cluster.facts["pid"],
        "uptime_s": round(environment.wall_time_s() - born_s, 1),
        "belongs_to_a_program": cluster.belongs_to_a_program,
    }
    try:
        with open(os.path.join(cluster.path, "token"), "rb") as file:
            token = file.read().strip()
    except OSError as error:  # it has just ended
        return {**report, **_nothing(f"{error.strerror}: {error.filename}")}
    return {**report, **_ask_status(str(cluster.facts.get("endpoint", "")), token)}


def _report_at(address: str) -> dict[str, Any]:
    report: dict[str, Any] = {"session": "", "session_dir": "", "address": address, "pid": 0, "uptime_s": 0.0}
    report["belongs_to_a_program"] = False
    try:
        token = tokens.token_for(address)
    except tokens.TokenError as error:
        return {**report, **_nothing(str(error))}
    return {**report, **_ask_status(f"tcp:{address}", token.encode())}


def _ask_status(endpoint: str, token: bytes) -> dict[str, Any]:
    try:
        answer = ask(endpoint, token, m.ClusterQuery(_RID, "status"))
    except (AskError, ValueError) as error:
        return _nothing(str(error))
    told = msgspec.msgpack.decode(answer.body)
    return {
        "nodes": [_node(node) for node in told["nodes"]],
        "resources": told["total"],
        "total": told["total"],
        "available": told["available"],
        "demands": [{"shape": shape, "count": count, "why": why} for shape, count, why in told["demand"]],
        "placement_groups": told.get("placement_groups", []),
        "autoscaler": told.get("autoscaler", {}),
        "heads": told.get("heads", []),
        "tables": told.get("tables", []),
        "dashboards": [_dashboard(node) for node in told["nodes"] if node["alive"] and node.get("dashboard")],
        "error": "",
    }


def _nothing(error: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"nodes": [], "resources": {}, "total": {}, "available": {}, "demands": []}
    return {
        **empty,
        "placement_groups": [],
        "autoscaler": {},
        "heads": [],
        "tables": [],
        "dashboards": [],
        "error": error,
    }


def _dashboard(node: dict[str, Any]) -> dict[str, Any]:
    told = node["dashboard"]
    return {**told, "url": f"http://{told['url']}" if told["url"] else "", "node_id": node["node_id"].hex()}


def _node(told: dict[str, Any]) -> dict[str, Any]:
    """A node as programs want it."""
    host, _, port = str(told["endpoint"]).removeprefix(f"node:{told['node_id'].hex()}:").rstrip(":").rpartition(":")
    is_public = str(told["endpoint"]).startswith("node:")
    return {
        "node_id": told["node_id"].hex(),
        "pid": told["pid"],
        "host": host if is_public else told["node_ip"],
        "port": int(port) if is_public else 0,
        "hostname": told["hostname"],
        "name": told["name"],
        "alive": told["alive"],
        "state": told["state"],
        "death_reason": told["death_reason"],
        "is_head": told["is_head"],
        "resources": told["resources"],
        "available": told["available"],
        "labels": told["labels"],
        "down": told.get("down", []),
        "memory_used_bytes": told["memory"][0],
        "memory_threshold_bytes": told["memory"][1],
    }


def _print_report(report: dict[str, Any], *, verbose: bool) -> None:
    console = Console(highlight=False)
    owner = "a running program (ends with it)" if report["belongs_to_a_program"] else "nobody (linckia stop ends it)"
    title = report["session"] or report["address"]
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")  # an address is there to be copied
    table.add_row("address", report["address"])
    if report["pid"]:
        table.add_row("belongs to", owner)
        table.add_row("running for", f"{report['uptime_s']:,.0f} s, node process {report['pid']}")
    for head in report["heads"]:
        table.add_row("head", _head_line(head))
    for node in report["nodes"]:
        table.add_row("node", _node_line(node, verbose=verbose))
        for part in node["down"]:
            table.add_row("", _down_line(part), style="red")
    for page in report["dashboards"]:
        table.add_row(
            "dashboard", page["url"] if page["is_up"] else _down_line(page), style="" if page["is_up"] else "red"
        )
    for name, total in sorted(report["total"].items()):
        if not name.startswith("node:") and "_group_" not in name:
            free = report["available"].get(name, 0.0)
            table.add_row(name, f"{_amount(name, total - free)} of {_amount(name, total)} in use")
    for demand in report["demands"]:
        table.add_row("waiting", f"{demand['count']} x {demand['shape']} {demand['why']}".rstrip())
    for group in report["placement_groups"]:
        table.add_row("placement group", f"{group.get('placement_group_id', '')[:12]} {group.get('state', '')}")
    if report["autoscaler"]:
        _add_autoscaler(table, report["autoscaler"])
    for held in report["tables"] if verbose else []:
        table.add_row("head keeps", _table_line(held))
    if report["error"]:
        table.add_row("does not answer", report["error"], style="red")
    console.print(table)


def _add_autoscaler(table: Table, told: dict[str, Any]) -> None:
    for name, states in told["node_types"].items():
        counts = ", ".join(f"{count} {state.lower()}" for state, count in states.items())
        table.add_row("worker group", f"{name}: {counts or 'none'}")
    for entry in told["unmet"]:
        table.add_row("cannot be met", f"{entry['what']}: {entry['why']}")
    for text in told["events"][-3:]:
        table.add_row("autoscaler", text)
    if told["hold"]:
        table.add_row("autoscaler", f"on hold: {told['hold']}")
    if not told["process"].get("is_up", True):
        table.add_row("autoscaler", _down_line(told["process"]), style="red")


def _down_line(part: dict[str, Any]) -> str:
    """Of a supervised part that is down."""
    for_s = environment.wall_time_s() - part["down_since_s"]
    return f"{part['name']} down for {for_s:.0f} s (failure {part['failures']}): {part['why']}"


def _head_line(head: dict[str, Any]) -> str:
    where = f"{head['host']}:{head['port']} process {head['pid']}"
    if head["leader"]:
        return f"{where} leads since epoch {head['epoch']}"
    lag = head["lag_revisions"]
    return f"{where} stands by, {'not connected' if lag < 0 else f'{lag} revisions behind'}"


def _table_line(held: dict[str, Any]) -> str:
    """What one table of the head holds."""
    size = f"{held['bytes'] / MIB:.1f} of {held['budget_bytes'] / MIB:g} MiB"
    what = f"{held['table'].replace('_', ' ')}: {held['live']:,} live, {held['ended']:,} ended, {size}"
    return f"{what}, {held['evicted']:,} forgotten ({held['rule']})"


def _node_line(node: dict[str, Any], *, verbose: bool) -> str:
    role = "head" if node["is_head"] else "node"
    state = node["state"].lower() if node["alive"] else f"dead: {node['death_reason']}"
    line = f"{node['node_id'][:12]} {role} {node['host']} {state} {node['name']}".rstrip()
    if not verbose:
        return line
    used = [
        f"{name} {_amount(name, total - node['available'].get(name, 0.0))}/{_amount(name, total)}"
        for name, total in sorted(node["resources"].items())
        if not name.startswith("node:")
    ]
    labels = ", ".join(f"{key}={value}" for key, value in sorted(node["labels"].items()) if key != "ray.io/node-id")
    facts = [f"  pid {node['pid']}, port {node['port']}, {', '.join(used)}", f"  labels {labels or '-'}"]
    if node["memory_threshold_bytes"]:
        held, most = (_amount("memory", node[f"memory_{each}_bytes"]) for each in ("used", "threshold"))
        facts.append(f"  {held} of its machine's memory used; workers end above {most}")
    return "\n".join([line, *facts])


def _amount(name: str, value: float) -> str:
    return f"{value / GIB:.2f} GiB" if name.endswith("memory") else f"{value:g}"


# --- one node ---------------------------------------------------------------------------------------------------------


def drain(address: str, beginning: str, reason: str, message: str, deadline_s: float) -> int:
    """Ask the cluster to drain the node whose id begins so. Returns the exit code."""
    try:
        endpoint, token = find_cluster(address)
        told = msgspec.msgpack.decode(ask(endpoint, token, m.ClusterQuery(_RID, "status")).body)
        found = [
            node["node_id"] for node in told["nodes"] if node["alive"] and node["node_id"].hex().startswith(beginning)
        ]
        if len(found) != 1:
            return refuse(
                f"--node-id {beginning!r}: {len(found)} living nodes have an id that begins so; see linckia status -v"
            )
        answer = ask(endpoint, token, m.DrainNode(_RID, found[0], reason, message, deadline_s))
    except (AskError, LookupError, tokens.TokenError, ValueError) as error:
        return refuse(str(error))
    if not answer.accepted:
        return refuse(f"the cluster refuses to drain {found[0].hex()[:12]}: {answer.text}")
    print(f"node {found[0].hex()[:12]} takes no new work")
    return 0


def find_cluster(address: str) -> tuple[str, bytes]:
    """(endpoint, token) of the cluster at an address, or of this user's here. LookupError, TokenError."""
    if address:
        return f"tcp:{address}", tokens.token_for(address).encode()
    for path, facts in reversed(session.live_sessions(environment.temporary_directory())):
        if facts.get("endpoint") and not facts.get("fate_share_with_driver"):
            return str(facts["endpoint"]), Path(path, "token").read_bytes().strip()
    raise LookupError("no cluster of yours runs on this machine; give --address=HOST:PORT")


# --- token ------------------------------------------------------------------------------------------------------------


def print_token(address: str, *, generate: bool) -> int:
    """The token on standard output. Returns the exit code."""
    try:
        if generate:
            _generate()
        if address:
            print(tokens.token_for(address))
        else:
            given = tokens.given_token()
            print(given or find_cluster("")[1].decode())
    except (tokens.TokenError, LookupError, OSError) as error:
        path = Path(tokens.default_path())
        if not address and path.exists():
            print(path.read_text(encoding="ascii").strip())
            return 0
        return refuse(str(error))
    return 0


def _generate() -> None:
    path = Path(tokens.default_path())
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        session.write_private(str(path), secrets.token_hex(32).encode())
