"""`linckia start`: the options of a node, and nothing else. Part of cli/main.py's app."""

from __future__ import annotations

from typing import Annotated

import typer

Store = Annotated[
    str,
    typer.Option(
        help="Heads: where the cluster's state is kept. `session` (SQLite, ends with the session), `sqlite:/path`, "
        "`etcd://h1:2379,h2:2379` (heads on several machines, one leads), or `none` (in the head's memory)."
    ),
]
TlsCert = Annotated[str, typer.Option(help="TLS between nodes: this machine's certificate (PEM).")]
TlsKey = Annotated[str, typer.Option(help="TLS: the certificate's private key.")]
TlsCa = Annotated[str, typer.Option(help="TLS: the CA's certificate; `linckia tls init` makes all three.")]
Join = Annotated[
    str,
    typer.Option(
        metavar="HOST:PORT", help="Join the cluster of that head, or of one of several (h1:p1,h2:p2), or etcd://..."
    ),
]
WithPage = Annotated[
    bool | None,
    typer.Option(
        envvar="LINCKIA_INCLUDE_DASHBOARD",
        help="Heads: serve a page that shows the cluster; default: if installed.",
    ),
]
PageHost = Annotated[str, typer.Option(help="Where it listens; `0.0.0.0`: for other machines too, over plain HTTP.")]
PagePort = Annotated[int, typer.Option(min=0, max=65535, help="Its port, or the next one that is free; 0: any.")]


def start(  # noqa: PLR0913 - the options of a node
    head: Annotated[bool, typer.Option("--head", help="Start a new cluster; this machine is its head.")] = False,
    address: Join = "",
    store: Store = "session",
    node_ip_address: Annotated[
        str, typer.Option(help="Where others reach this node. A head listens on loopback unless you name an address.")
    ] = "",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The node's one TCP port; 0: any. Heads try 6379 first.")
    ] = None,
    num_cpus: Annotated[float | None, typer.Option(help="CPUs to offer; default: those of this machine.")] = None,
    num_gpus: Annotated[float | None, typer.Option(help="GPUs to offer.")] = None,
    memory: Annotated[int | None, typer.Option(help="Memory to offer to tasks that ask for it, in bytes.")] = None,
    resources: Annotated[str, typer.Option(help="More resources, as JSON: '{\"disk\": 2}'.")] = "{}",
    labels: Annotated[str, typer.Option(help="Labels: 'zone=a,disk=ssd', or JSON.")] = "",
    node_name: Annotated[str, typer.Option(help="A name for people.")] = "",
    worker_group: Annotated[str, typer.Option(help="Name of the worker group this node belongs to.")] = "",
    object_store_memory: Annotated[int | None, typer.Option(help="Shared memory for objects, in bytes.")] = None,
    object_spilling_directory: Annotated[str, typer.Option(help="Where objects go when memory is full.")] = "",
    autoscaling_config: Annotated[str, typer.Option(help="Worker groups to start on demand (a YAML file).")] = "",
    temp_dir: Annotated[str, typer.Option(help="Where the session directory is made.")] = "",
    tls_cert: TlsCert = "",
    tls_key: TlsKey = "",
    tls_ca: TlsCa = "",
    include_dashboard: WithPage = None,
    dashboard_host: PageHost = "127.0.0.1",
    dashboard_port: PagePort = 8265,
    block: Annotated[bool, typer.Option("--block", help="Stay in the foreground; Ctrl-C stops the node.")] = False,
) -> None:
    """Start a node: the head of a new cluster, or one that joins (`--address`).

    Programs on this machine find the cluster with `linckia.init()`, on others with `linckia.init(address="HOST:PORT")`.
    A joining machine needs the cluster's token: `linckia get-auth-token` prints it on the head.
    """
    from linckia.cli import starting  # noqa: PLC0415 - start-up time

    given: dict[str, object] = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "_memory": memory,
        "object_store_memory": object_store_memory,
    }
    given |= {"_node_name": node_name or None, "_temp_dir": temp_dir or None}
    tls = (tls_cert, tls_key, tls_ca)
    page = starting.Page(include_dashboard, dashboard_host, dashboard_port)
    place = starting.Place(address, node_ip_address, port, worker_group, object_spilling_directory, tls, store, page)
    raise typer.Exit(
        starting.start(
            given, place, resources=resources, labels=labels, head=head, block=block, scaling=autoscaling_config
        )
    )
