"""The commands of `linckia`: arguments and help texts. Each calls one function of a sibling module or of `util`.

Entry point of the `linckia` script and of `python -m linckia.cli.main`. It decides nothing; whatever it offers can be
reached from Python without it. Imports inside commands keep `linckia --help` and `linckia run` quick to start.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import typer

import linckia
from linckia.cli.job_commands import app as job_app
from linckia.cli.start_command import start
from linckia.node.launch import NodeStartError

PROGRAM_ARGUMENTS = {"allow_interspersed_args": False}
"""Everything behind the script's name belongs to the script, `--help` included."""

head_app = typer.Typer(no_args_is_help=True, help="Heads of a cluster that has several.")
chaos_app = typer.Typer(
    invoke_without_command=True,
    help="Hurt a cluster that is started for it, or one that runs, and count what is lost. Nothing else is touched.",
)
tls_app = typer.Typer(no_args_is_help=True, help="Certificates for connections between nodes.")
app = typer.Typer(
    name="linckia",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Ordinary Python functions and classes, run as tasks and actors on all cores. No command is needed for that: "
    "**import linckia; linckia.init()** starts a cluster that ends with your program. "
    "The commands are for looking on, for clusters that outlive a program, and for programs written for Ray.",
    epilog="First steps: **linckia demo**, then docs/quickstart.md.",
)
app.command()(start)
app.add_typer(job_app, name="job")
app.add_typer(tls_app, name="tls")
app.add_typer(head_app, name="head")
app.add_typer(chaos_app, name="chaos")


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@contextmanager
def _start_failures_said() -> Iterator[None]:
    """A node that does not start is told in its own words; our traceback would add nothing."""
    try:
        yield
    except NodeStartError as error:
        typer.echo(f"linckia: {error}", err=True)
        raise typer.Exit(1) from error


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    files: Annotated[int, typer.Option(min=0, help="Take only this many files, at least 100; 0 takes them all.")] = 0,
    cpus: Annotated[int, typer.Option(min=0, help="CPUs of the cluster; 0 means those of this machine.")] = 0,
) -> None:
    """Run a real job on a real cluster of processes, and kill a worker on the way.

    Parses and measures every source file of this interpreter's standard library with tasks, an actor and shared
    memory, does the same in a plain loop, and compares. Exit code 1 when the totals differ or anything was left behind.
    """
    from linckia.cli import demo as show  # noqa: PLC0415 - start-up time

    with _start_failures_said():
        raise typer.Exit(0 if show.run(files, cpus) else 1)


@app.command()
def status(
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="That cluster; default: yours on this machine.")
    ] = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every node with its resources and labels.")] = False,
    output: Annotated[
        Literal["text", "json"], typer.Option("--format", help="`json` is for programs; its keys stay.")
    ] = "text",
) -> None:
    """Show your clusters: nodes, resources, what waits and why. Exit code 1 when there are none."""
    from linckia.cli import looking  # noqa: PLC0415 - start-up time

    raise typer.Exit(0 if looking.show_status(address, as_json=output == "json", verbose=verbose) else 1)


@head_app.command("step-down")
def head_step_down(
    reason: Annotated[str, typer.Option(help="For the logs.")] = "",
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="The cluster; default: yours here.")] = "",
) -> None:
    """Let another head lead, before this one's machine is taken away. Exit code 1 when there is no other."""
    from linckia.cli import heads  # noqa: PLC0415 - start-up time

    raise typer.Exit(heads.step_down(address, reason))


Resource = Literal[
    "actors", "jobs", "placement-groups", "nodes", "workers", "tasks", "objects", "runtime-envs", "cluster-events"
]
Form = Literal["default", "json", "yaml", "table"]
OfCluster = Annotated[str, typer.Option("--address", metavar="HOST:PORT", help="The cluster; default: yours here.")]
Patience = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds until those who are silent are left out.")]
Format = Annotated[Form, typer.Option("--format", help="`json` and `yaml` are for programs.")]


@app.command("list")
def list_(
    resource: Annotated[Resource, typer.Argument(help="What.")],
    filters: Annotated[
        list[str] | None, typer.Option("-f", "--filter", metavar="KEY=VALUE", help="Or KEY!=VALUE; all must hold.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, max=10_000, help="At most so many.")] = 100,
    detail: Annotated[bool, typer.Option("--detail", help="All columns; as YAML unless --format says.")] = False,
    output: Format = "default",
    timeout: Patience = 30.0,
    address: OfCluster = "",
) -> None:
    """List what runs, and what is remembered of what ran: tasks, actors, objects, workers and more."""
    from linckia.cli import listing  # noqa: PLC0415 - start-up time

    look = listing.Look(address, timeout, output)
    raise typer.Exit(listing.answered(lambda: listing.show_list(resource, filters or [], limit, look, detail=detail)))


@app.command()
def get(
    resource: Annotated[Resource, typer.Argument(help="What.")],
    id_: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `linckia list` shows it.")],
    output: Format = "default",
    timeout: Patience = 30.0,
    address: OfCluster = "",
) -> None:
    """Show all there is to know about one thing. Exit code 1 when nobody knows it."""
    from linckia.cli import listing  # noqa: PLC0415 - start-up time

    look = listing.Look(address, timeout, output)
    raise typer.Exit(listing.answered(lambda: listing.show_one(resource, id_, look)))


@app.command()
def summary(
    resource: Annotated[Literal["tasks", "actors", "objects"], typer.Argument(help="What.")],
    output: Format = "default",
    timeout: Patience = 30.0,
    address: OfCluster = "",
) -> None:
    """Count tasks by function, actors by class, objects by the place that made them, and each by state."""
    from linckia.cli import listing  # noqa: PLC0415 - start-up time

    look = listing.Look(address, timeout, output)
    raise typer.Exit(listing.answered(lambda: listing.show_summary(resource, look)))


@app.command()
def memory(
    group_by: Annotated[Literal["NODE_ADDRESS", "STACK_TRACE"], typer.Option(help="One table for each.")] = (
        "NODE_ADDRESS"
    ),
    sort_by: Annotated[Literal["OBJECT_SIZE", "PID", "REFERENCE_TYPE"], typer.Option(help="Order.")] = "OBJECT_SIZE",
    units: Annotated[Literal["B", "KB", "MB", "GB"], typer.Option(help="Of sizes.")] = "B",
    stats_only: Annotated[bool, typer.Option("--stats-only", help="Sums only.")] = False,
    num_entries: Annotated[int, typer.Option("--num-entries", "-n", help="Rows of each table; -1: all.")] = -1,
    timeout: Patience = 30.0,
    address: OfCluster = "",
) -> None:
    """Show who holds references to which objects, and how large these are."""
    from linckia.cli import listing  # noqa: PLC0415 - start-up time

    view = listing.MemoryView(group_by, sort_by, units, stats_only, num_entries)
    look = listing.Look(address, timeout, "default")
    raise typer.Exit(listing.answered(lambda: listing.show_memory(view, look)))


@app.command()
def logs(  # noqa: PLR0913 - ways to name a log
    pattern: Annotated[str, typer.Argument(metavar="[PATTERN]", help="Names of files, as `worker-*.out`.")] = "",
    actor_id: Annotated[str, typer.Option(help="The log of this actor's worker.")] = "",
    task_id: Annotated[str, typer.Option(help="The log of the worker that ran this task.")] = "",
    pid: Annotated[int, typer.Option(help="The log of this worker process.")] = 0,
    node_id: Annotated[str, typer.Option(help="Of this node only.")] = "",
    tail: Annotated[int, typer.Option(min=-1, help="The last so many lines; -1: all.")] = 1000,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C.")] = False,
    err: Annotated[bool, typer.Option("--err", help="Standard error instead of output.")] = False,
    timeout: Patience = 30.0,
    address: OfCluster = "",
) -> None:
    """Show the log of a worker, or the names of all log files (of one that alone fits PATTERN: its text)."""
    from linckia.cli import listing  # noqa: PLC0415 - start-up time

    choice = listing.LogChoice(pattern, actor_id, task_id, pid, node_id, tail, follow, err)
    look = listing.Look(address, timeout, "default")
    raise typer.Exit(listing.answered(lambda: listing.show_logs(choice, look)))


@app.command("kill-actor")
def kill_actor(
    name: Annotated[str, typer.Option("--name", help="Its name.")],
    namespace: Annotated[str, typer.Option(help="Its namespace.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Kill it at once; else it finishes its calls first.")] = False,
    no_restart: Annotated[bool, typer.Option("--no-restart", help="With --force: for good.")] = False,
    address: OfCluster = "",
) -> None:
    """End a named actor. Exit code 1 when there is none of that name, or when it does not end."""
    from linckia.cli import killing  # noqa: PLC0415 - start-up time

    raise typer.Exit(killing.kill_actor(name, namespace, address, force=force, no_restart=no_restart))


@app.command("drain-node")
def drain_node(
    node_id: Annotated[str, typer.Option(help="The node, from `linckia status` (a unique beginning is enough).")],
    reason: Annotated[
        Literal["idle-termination", "preemption", "DRAIN_NODE_REASON_IDLE_TERMINATION", "DRAIN_NODE_REASON_PREEMPTION"],
        typer.Option(help="Idle termination is refused while it works. (The long names are Ray's.)"),
    ] = "idle-termination",
    reason_message: Annotated[str, typer.Option(help="For people.")] = "",
    deadline_s: Annotated[
        float,
        typer.Option(
            "--deadline-s", "--deadline-remaining-seconds", min=0, help="Preemption: seconds until the node goes."
        ),
    ] = 0.0,
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="The cluster.")] = "",
) -> None:
    """Give a node no new work, because it is to go. Exit code 1 when the cluster refuses."""
    from linckia.cli import looking  # noqa: PLC0415 - start-up time

    kind = reason.replace("-", "_").upper().removeprefix("DRAIN_NODE_REASON_")
    raise typer.Exit(looking.drain(address, node_id, kind, reason_message, deadline_s))


@app.command("health-check")
def health_check(
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="A node; default: yours on this machine.")] = "",
) -> None:
    """Exit code 0 when the node answers, 1 when not: made to be a probe."""
    from linckia.cli import probing  # noqa: PLC0415 - start-up time

    raise typer.Exit(probing.health_check(address))


@tls_app.command("init")
def tls_init(
    folder: Annotated[str, typer.Option("--dir", help="Where to write them; default: ~/.linckia/tls.")] = "",
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME_OR_IP", help="A machine's name or address, for the certificate; repeat it."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=36500, help="How long they are valid.")] = 1825,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Make a private certificate authority and a certificate for all nodes, and say what to do with them.

    Connections between nodes are then encrypted, and a node needs such a certificate as well as the cluster's token.
    """
    from linckia.cli import tls_init as making  # noqa: PLC0415 - start-up time

    raise typer.Exit(making.init(folder, host or [], days, force=force))


@app.command("get-auth-token")
def get_auth_token(
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="The cluster; default: yours here.")] = "",
    generate: Annotated[
        bool, typer.Option("--generate", help="Make one in ~/.linckia/auth_token if there is none.")
    ] = False,
) -> None:
    """Print the token that machines and programs need to join."""
    from linckia.cli import looking  # noqa: PLC0415 - start-up time

    raise typer.Exit(looking.print_token(address, generate=generate))


@app.command()
def stop(
    session: Annotated[str, typer.Argument(help="Only this session (its name, from `linckia status`).")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Also clusters that belong to a running program.")] = False,
    grace_s: Annotated[float, typer.Option("--grace-s", min=0, help="Seconds before SIGKILL follows SIGTERM.")] = 5.0,
) -> None:
    """Stop your clusters on this machine, and say which.

    Processes are recognised by their session's lock, the boot and their start time, never by name; nobody else's are
    touched. Clusters that a running program started with `linckia.init()` end with it and are left alone.
    """
    from linckia.cli import clusters  # noqa: PLC0415 - start-up time

    raise typer.Exit(clusters.stop(session, everything=everything, grace_s=grace_s))


@app.command(context_settings=PROGRAM_ARGUMENTS)
def run(
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help="A Python file.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[ARGUMENTS]...", help="For the script.")] = None,
    as_ray: Annotated[bool, typer.Option("--as-ray", help="In this program, `import ray` means Linckia.")] = False,
) -> None:
    """Run a program as `python SCRIPT ARGUMENTS` would, a program written for Ray with `--as-ray`.

    Nothing in the program has to change, and Ray need not be installed. The exit code is the program's.
    """
    from linckia.cli import script_run  # noqa: PLC0415 - start-up time

    sys.exit(script_run.run(script, arguments or [], as_ray=as_ray))


@app.command()
def microbenchmark(
    seconds: Annotated[float, typer.Option(min=0.01, help="Time for each measurement.")] = 1.0,
    only: Annotated[str, typer.Option(metavar="WORD", help="Only measurements with this word in their name.")] = "",
) -> None:
    """Measure tasks, actor calls and objects per second, here and now."""
    from linckia.util import microbenchmark as measurements  # noqa: PLC0415 - start-up time

    with _start_failures_said():
        try:
            measurements.run(seconds=seconds, only=only)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error


ReportFile = Annotated[str, typer.Option(metavar="FILE", help="Write the report there; default: print it.")]
ReportForm = Annotated[Literal["markdown", "json"], typer.Option("--format", help="Of the report.")]


@chaos_app.callback()
def chaos(  # noqa: PLR0913 - the size of a cluster and of a schedule
    context: typer.Context,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 60s, 5m.")] = "60s",
    every: Annotated[str, typer.Option(metavar="TIME", help="A fault that often.")] = "3s",
    seed: Annotated[int, typer.Option(help="Chooses times, kinds and victims: the same seed, the same schedule.")] = 7,
    faults: Annotated[
        str,
        typer.Option(
            help="Kill: head, raylet, worker, etcd, etcd-all. Stop: stop-head, stop-raylet, stop-worker, stop-etcd. "
            "Cut: cut-node, deaf-node, mute-node, part-node, cut-head, cut-heads, cut-store. Lose: host, host-etcd. "
            "Disk: full-store, full-spill, slow-disk. And memory, clock, busy. Groups: stop, cut, lost, disk, all. "
            "Default: head,raylet,worker,stop, without raylet with --address."
        ),
    ] = "",
    lasts: Annotated[str, typer.Option(metavar="TIME", help="Of what is undone again; default: drawn.")] = "",
    load: Annotated[
        str,
        typer.Option(
            help="Of what the load consists: task, tasks (six of 20 ms at once), call, retried (a call with retries), "
            "creation (of an actor), find (a named actor), group, object. Default: all, which fills two cores."
        ),
    ] = "",
    address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Hurt a cluster that runs already, `auto` or its address: processes of this machine that belong to "
            "it, whoever's work they do. Killed nodes are not replaced.",
        ),
    ] = "",
    store: Annotated[
        str, typer.Option(help="`session` (SQLite), `sqlite:/path`, `etcd` (starts three members).")
    ] = "session",
    nodes: Annotated[int, typer.Option(min=1, help="Nodes that work.")] = 2,
    heads: Annotated[int, typer.Option(min=0, help="0: one, or three on etcd.")] = 0,
    cpus: Annotated[int, typer.Option(min=1, help="CPUs that each node offers.")] = 3,
    logs: Annotated[
        str, typer.Option(metavar="DIR", help="Keep the logs of nodes and driver there, and all operations.")
    ] = "",
    report: ReportFile = "",
    form: ReportForm = "markdown",
) -> None:
    """Run a workload that checks itself on a new cluster (or with --address on one that runs), hurt it, and report.

    Exit code 1 when anything that was acknowledged is lost or was done twice.
    """
    if context.invoked_subcommand is not None:
        return
    from linckia.cli import chaos as runs  # noqa: PLC0415 - start-up time

    cluster = address or runs.size(store, nodes, heads, cpus)
    words = faults or ("head,worker,stop" if address else "head,raylet,worker,stop")
    plan = runs.plan(seed, for_, every, lasts, load)
    raise typer.Exit(runs.run(plan, words, cluster, report, form, logs))


@chaos_app.command()
def judge(
    stores: Annotated[str, typer.Option(help="Of session and etcd.")] = "session,etcd",
    only: Annotated[str, typer.Option(metavar="NUMBERS", help="Only these questions: 5,12.")] = "",
    report: ReportFile = "",
    form: ReportForm = "markdown",
) -> None:
    """Ask a cluster the questions of docs/consistency.md by experiment: what is promised, and is it so?"""
    from linckia.cli import chaos as runs  # noqa: PLC0415 - start-up time

    raise typer.Exit(runs.judge(stores, only, report, form))


@app.command()
def timeline(
    file: Annotated[str, typer.Argument(help="Where to write the trace.")] = "linckia-timeline.json",
) -> None:
    """Write what the running cluster did when, as a Chrome trace (open it at ui.perfetto.dev).

    Programs report what they run when LINCKIA_PROFILING=1 is in their environment.
    """
    from linckia.cli import clusters  # noqa: PLC0415 - start-up time

    raise typer.Exit(clusters.write_timeline(file))


@app.command()
def version() -> None:
    """Print the versions of Linckia and Python."""
    print(f"linckia {linckia.__version__} (Python {sys.version.split()[0]})")


if __name__ == "__main__":
    app(prog_name="linckia")
