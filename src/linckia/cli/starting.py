"""`linckia start`: from the options on the command line to a running node, and what to tell the person about it.

Called by cli/main.py. A node that does not start says why in one sentence; the exit code is then 1.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from typing import Any, NamedTuple

from linckia.api import session_options
from linckia.base.labels import check_labels
from linckia.cli import heads
from linckia.host import environment, process, tokens
from linckia.node.launch import NodeProcess, NodeStartError, start_node
from linckia.node.options import NodeOptions

HEAD_PORT = 6379  # Ray's, so that addresses in scripts stay what they are
REMOVE_GRACE_S = 2.0
ERROR_NUMBER = r"\[Errno -?\d+\] "


class Page(NamedTuple):
    """The dashboard: whether (None: if what it needs is installed) and where."""

    wanted: bool | None
    host: str
    port: int


class Place(NamedTuple):
    """Where the node is and belongs."""

    address: str
    node_ip: str
    port: int | None
    worker_group: str
    spill_dir: str
    tls: tuple[str, str, str]
    store: str
    page: Page


def start(
    given: dict[str, Any], place: Place, *, resources: str, labels: str, head: bool, block: bool, scaling: str
) -> int:
    """Start a head, or a node that joins, and with `block` wait for its end. Returns the exit code."""
    if head == bool(place.address):
        return refuse(
            "say either --head (a new cluster) or --address=HOST:PORT (join that one)"
            if not head
            else "--head starts a new cluster and --address joins one: give one of them"
        )
    try:
        options = _options(given, place, resources, labels)
    except (TypeError, ValueError, tokens.TokenError) as error:
        return refuse(str(error))
    if scaling:
        if not head:
            return refuse("--autoscaling-config is for heads: give it to `linckia start --head`")
        options = options._replace(autoscaling_config=scaling)
    try:
        node = _start(options, place)
    except NodeStartError as error:
        return refuse(_sentence(error))
    _say(node, block=block)
    return _stay(node) if block else 0


def _options(given: dict[str, Any], place: Place, resources: str, labels: str) -> NodeOptions:
    try:
        amounts = json.loads(resources)
    except ValueError as error:
        raise ValueError(f"--resources {resources!r} is not JSON: {error}") from error
    node = session_options.parse(None, {**given, "resources": amounts, "labels": _labels(labels)}).node
    checked = check_labels(node.labels)
    if "ray.io/node-id" in checked:
        raise ValueError("--labels: ray.io/node-id is given by the cluster, it cannot be chosen")
    if place.worker_group:
        try:
            checked |= check_labels({"ray.io/node-group": place.worker_group})
        except ValueError as error:
            raise ValueError(f"--worker-group {place.worker_group!r}: {error}") from error
    token, node_ip, address = "", place.node_ip, heads.addresses(place.address)
    if address:
        first = address.partition(",")[0]
        token = tokens.token_for(first, node.temp_dir)
        node_ip = node_ip or environment.address_towards(first)
    return node._replace(
        fate_share_with_driver=False,
        address=address,
        store=heads.store_address(place.store) if not address else "",
        node_ip=node_ip,
        token=token,
        labels=checked,
        worker_group=place.worker_group,
        spill_dir=place.spill_dir,
        tls_cert=place.tls[0],
        tls_key=place.tls[1],
        tls_ca=place.tls[2],
        include_dashboard=place.page.wanted if not address else False,
        dashboard_host=place.page.host,
        dashboard_port=place.page.port,
    )


def _labels(text: str) -> dict[str, str]:
    """``a=1,b=2`` or a JSON object."""
    if not text.strip():
        return {}
    if text.lstrip().startswith("{"):
        try:
            parsed = json.loads(text)
        except ValueError as error:
            raise ValueError(f"--labels {text!r} is not JSON: {error}") from error
        return {str(key): str(value) for key, value in parsed.items()}
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(equals and key.strip() for key, equals, _ in pairs):
        raise ValueError(f"--labels {text!r}: expected key=value,key=value")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _start(options: NodeOptions, place: Place) -> NodeProcess:
    """On the port that was named; else a head tries 6379 and then any, others take any."""
    if place.port is not None or options.address:
        return _ready(options._replace(port=place.port or 0))
    try:
        return _ready(options._replace(port=HEAD_PORT))
    except NodeStartError as error:
        if "already in use" not in str(error):
            raise
        return _ready(options._replace(port=0))


def _ready(options: NodeOptions) -> NodeProcess:
    node = start_node(options)
    node.wait_ready()
    return node


def _sentence(error: NodeStartError) -> str:
    """What the node said, without its traceback: that is in its log."""
    text = str(error).partition("\n--- its last lines ---")[0]
    return re.sub(r"^the node process \d+ did not start: |\b\w*Error: ", "", text)


def _say(node: NodeProcess, *, block: bool) -> None:
    facts = node.facts
    address = facts["cluster_address"]
    if facts["tcp_address"] == address:
        print(f"cluster {node.session_name} runs\n")
        print('  in a program     linckia.init(address="auto")')
        print(f"  from elsewhere   linckia start --address={address}    with LINCKIA_AUTH_TOKEN set to what")
        print(f"                   `linckia get-auth-token --address={address}` prints here")
    else:
        print(f"node {facts['node_id'][:12]} has joined the cluster at {address}\n")
        print('  in a program     linckia.init(address="auto")')
    print(f"  its address      {facts['tcp_address']}")
    if facts["dashboard_url"]:
        print(f"  its dashboard    http://{facts['dashboard_url']}    (the token opens it)")
    elif facts["dashboard_trouble"]:
        print(f"  its dashboard    none: {facts['dashboard_trouble']}; it is tried again")
    print(f"  its logs         {node.session_dir}/logs")
    print("  look at it       linckia status")
    print(f"  stop it          {'Ctrl-C' if block else f'linckia stop {node.session_name}'}", flush=True)


def _stay(node: NodeProcess) -> int:
    """Until the node ends or a signal asks for its end."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        while not process.wait_pidfd(node.pidfd, 3600.0):
            pass
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
        node.stop(REMOVE_GRACE_S)
        return 0
    node.stop()
    return refuse(f"the node process {node.pid} has ended; see {node.session_dir}/logs if it is still there")


def refuse(why: str) -> int:
    """Say it on standard error, on one line and without error numbers; exit code 1."""
    print(f"linckia: {re.sub(ERROR_NUMBER, '', ' '.join(why.split()))}", file=sys.stderr)
    return 1
