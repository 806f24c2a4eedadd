"""The commands of `linckia job`: arguments and help texts. Each calls one function of cli/jobs.py."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Programs that run on the cluster, connected or not: **linckia job submit -- python train.py**. They are "
    "tried again, or moved to another node, as you say (docs/jobs.md).",
)
Address = Annotated[
    str,
    typer.Option(metavar="HOST:PORT", help="The cluster; default: LINCKIA_ADDRESS, else yours on this machine."),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="The submission id.")]
Hidden = Annotated[str, typer.Option(hidden=True)]  # of Ray's HTTP server: accepted, without effect
REST_IS_THE_ENTRYPOINT = {"allow_interspersed_args": False}
RUNS, NEEDS, RETRIES = "What runs", "What the driver itself holds, besides its tasks", "When it fails"

Env = Annotated[str, typer.Option(metavar="FILE", help="Runtime environment, as YAML.", rich_help_panel=RUNS)]
EnvJson = Annotated[
    str, typer.Option(metavar="JSON", help='The same: \'{"env_vars": {"A": "1"}}\'.', rich_help_panel=RUNS)
]
WorkingDir = Annotated[
    str, typer.Option(metavar="DIR", help="Directory or zip file to send along; it runs in it.", rich_help_panel=RUNS)
]
Metadata = Annotated[str, typer.Option(metavar="JSON", help="Texts by name, for you.", rich_help_panel=RUNS)]
Cpus = Annotated[float | None, typer.Option(help="CPUs.", rich_help_panel=NEEDS)]
Gpus = Annotated[float | None, typer.Option(help="GPUs.", rich_help_panel=NEEDS)]
Memory = Annotated[int | None, typer.Option(help="Memory, in bytes.", rich_help_panel=NEEDS)]
Resources = Annotated[str, typer.Option(metavar="JSON", help="More: '{\"disk\": 1}'.", rich_help_panel=NEEDS)]
Labels = Annotated[
    str, typer.Option(metavar="JSON", help='Labels of its node: \'{"zone": "a"}\'.', rich_help_panel=NEEDS)
]
Retries = Annotated[
    int, typer.Option(min=-1, help="Start it again when it exits with another code than 0.", rich_help_panel=RETRIES)
]
Pause = Annotated[
    float, typer.Option(min=0, metavar="S", help="First pause; it doubles, up to 60 s.", rich_help_panel=RETRIES)
]
Codes = Annotated[str, typer.Option(metavar="1,75", help="Only after these; default: all.", rich_help_panel=RETRIES)]
OomRetries = Annotated[
    int, typer.Option(min=-1, help="The same for a lack of memory; -1: always.", rich_help_panel=RETRIES)
]
NoFailover = Annotated[
    bool,
    typer.Option("--no-failover", help="It must not run twice: FAILED if its node dies.", rich_help_panel=RETRIES),
]


@app.command(context_settings=REST_IS_THE_ENTRYPOINT)
def submit(  # noqa: PLR0913 - what can be said of a job
    entrypoint: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND", help="After `--`. A single argument is given to a shell as it is."),
    ],
    address: Address = "",
    submission_id: Annotated[str, typer.Option(help="Your name for it, so that it is submitted once only.")] = "",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print its id and end; the job goes on.")] = False,
    working_dir: WorkingDir = "",
    runtime_env: Env = "",
    runtime_env_json: EnvJson = "",
    metadata_json: Metadata = "",
    entrypoint_num_cpus: Cpus = None,
    entrypoint_num_gpus: Gpus = None,
    entrypoint_memory: Memory = None,
    entrypoint_resources: Resources = "",
    entrypoint_label_selector: Labels = "",
    max_retries: Retries = 0,
    retry_backoff: Pause = 1.0,
    retry_exit_codes: Codes = "",
    max_oom_retries: OomRetries = -1,
    no_failover: NoFailover = False,
    headers: Hidden = "",
    verify: Hidden = "",
) -> None:
    """Run a command on a node of the cluster, as the driver of a job; show its output, end with its exit code.

    Ctrl-C ends only the showing. When its node dies the command is started again on another one (--no-failover: not).

    **linckia job submit --working-dir . --max-retries 2 -- python train.py --epochs 3**
    """
    from linckia.cli import jobs  # noqa: PLC0415 - start-up time

    del headers, verify
    fields = {
        "working_dir": working_dir,
        "runtime_env": runtime_env,
        "runtime_env_json": runtime_env_json,
        "metadata_json": metadata_json,
        "entrypoint_resources": entrypoint_resources,
        "entrypoint_label_selector": entrypoint_label_selector,
        "retry_exit_codes": retry_exit_codes,
    }
    given = {
        "submission_id": submission_id or None,
        "entrypoint_num_cpus": entrypoint_num_cpus,
        "entrypoint_num_gpus": entrypoint_num_gpus,
        "entrypoint_memory": entrypoint_memory,
        "max_retries": max_retries,
        "retry_backoff_s": retry_backoff,
        "max_oom_retries": max_oom_retries,
        "failover": not no_failover,
    }
    raise typer.Exit(jobs.submit(address, entrypoint, given, fields, wait=not no_wait))


@app.command("list")
def list_(
    address: Address = "",
    output: Annotated[Literal["text", "json"], typer.Option("--format", help="`json` is for programs.")] = "text",
) -> None:
    """List the jobs that were submitted, the oldest first, and programs that are connected by themselves."""
    from linckia.cli import jobs  # noqa: PLC0415 - start-up time

    raise typer.Exit(jobs.show_list(address, as_json=output == "json"))


@app.command()
def status(
    submission_id: Id,
    address: Address = "",
    output: Annotated[Literal["text", "json"], typer.Option("--format", help="`json` is for programs.")] = "text",
) -> None:
    """Show where a job is: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED, why, and each of its attempts."""
    from linckia.cli import jobs  # noqa: PLC0415 - start-up time

    raise typer.Exit(jobs.show_status(address, submission_id, as_json=output == "json"))


@app.command()
def logs(
    submission_id: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is over.")] = False,
    address: Address = "",
) -> None:
    """Show what a job has printed, in all its attempts. Those of nodes that are gone are gone with them."""
    from linckia.cli import jobs  # noqa: PLC0415 - start-up time

    raise typer.Exit(jobs.show_logs(address, submission_id, follow=follow))


@app.command()
def stop(
    submission_id: Id,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only say so.")] = False,
    address: Address = "",
) -> None:
    """Stop a job: SIGTERM to all its processes, SIGKILL after 3 s. Returns when it is STOPPED."""
    from linckia.cli import jobs  # noqa: PLC0415 - start-up time

    raise typer.Exit(jobs.stop(address, submission_id, wait=not no_wait))


@app.command()
def delete(submission_id: Id, address: Address = "") -> None:
    """Forget a job that is over. Its logs stay with the nodes it ran on."""
    from linckia.cli import jobs  # noqa: PLC0415 - start-up time

    raise typer.Exit(jobs.delete(address, submission_id))
