"""`linckia demo`: a real job on a real cluster, one worker killed on the way, compared with a plain loop.

Called by cli/main.py. The job itself is demo_job.py, the looking for leftovers demo_leftovers.py; here are the cluster,
the killing and what is shown. It kills one process: a worker of its own cluster that is running one of its own tasks.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import linckia
from linckia.cli.demo_job import Corpus, Ledger, Measures, measure_batch, measure_remotely, read_corpus
from linckia.cli.demo_leftovers import SessionWatch
from linckia.host import process
from linckia.worker import current

KILL_AT_SHARE = 0.4
PLAIN_STEPS = 4
Advance = Callable[[int], None]


@dataclass
class Run:
    """What happened on the cluster."""

    measures: Measures = field(default_factory=Measures)
    started_s: float = 0.0
    shared_s: float = 0.0
    measured_s: float = 0.0
    stopped_s: float = 0.0
    cpus: int = 0
    killed: list[int] = field(default_factory=list)
    retried_tasks: int = 0
    left_behind: list[str] = field(default_factory=list)

    @property
    def total_s(self) -> float:
        return self.started_s + self.shared_s + self.measured_s + self.stopped_s


def run(files: int = 0, cpus: int = 0) -> bool:
    """Run and show it all. True when the totals agree, a killed task was retried, and nothing is left behind."""
    console = Console(highlight=False)
    corpus = read_corpus(files)
    console.print(
        f"[bold]Linckia demo[/bold]: parse and measure {len(corpus):,} files of Python's own library, "
        f"{corpus.block.nbytes / 1e6:.1f} MB, in {len(corpus.batches())} batches",
        soft_wrap=True,
    )
    found = _on_cluster(corpus, cpus, console)
    start_s = time.perf_counter()
    with _progress(console, "the same in a plain loop", len(corpus)) as advance:
        expected = plain_loop(corpus, advance)
    plain_s = time.perf_counter() - start_s
    console.print(_table(found, expected, plain_s))
    return _verdict(found, expected, plain_s, console)


def plain_loop(corpus: Corpus, advance: Advance) -> Measures:
    """The job in this process, as one would write it without Linckia."""
    total = Measures()
    for batch in corpus.batches():
        total.add(measure_batch(corpus, batch))
        advance(total.files)
    return total


def _on_cluster(corpus: Corpus, cpus: int, console: Console) -> Run:
    found, clock = Run(), _Stopwatch()
    context = linckia.init(address="local", num_cpus=cpus or None)
    watch = SessionWatch(context["session_dir"])
    try:
        found.cpus = int(linckia.cluster_resources()["CPU"])
        found.started_s = clock.lap()
        shared = linckia.put(corpus)
        found.shared_s = clock.lap()
        with _progress(console, f"tasks on {found.cpus} CPUs", len(corpus)) as advance:
            found.measures = _measure(
                corpus, shared, advance, lambda ledger: _kill_a_busy_worker(ledger, watch, found, console)
            )
        found.measured_s = clock.lap()
        found.retried_tasks = getattr(current.runtime, "retried_tasks", 0)
        watch.look()
        clock.lap()
    finally:
        linckia.shutdown()
    found.stopped_s = clock.lap()
    found.left_behind = watch.leftovers()
    return found


def _measure(corpus: Corpus, shared: Any, advance: Advance, kill_a_worker: Callable[[Any], None]) -> Measures:
    """One task per batch; each result goes to the ledger as a reference, so it does not pass through this process."""
    ledger = linckia.remote(num_cpus=0)(Ledger).remote()
    batches = corpus.batches()
    waiting = {measure_remotely.remote(shared, number, batch, ledger): number for number, batch in enumerate(batches)}
    while waiting:
        ready, _ = linckia.wait(list(waiting), num_returns=1)
        files = linckia.get([ledger.add.remote(waiting.pop(ref), ref) for ref in ready])[-1]
        advance(files)
        if files >= KILL_AT_SHARE * len(corpus) and current.runtime is not None and not current.runtime.retried_tasks:
            kill_a_worker(ledger)
    measures: Measures = linckia.get(ledger.result.remote())
    return measures


def _kill_a_busy_worker(ledger: Any, watch: SessionWatch, found: Run, console: Console) -> None:
    """SIGKILL to the worker whose task began last. If that ends in the same instant, the next turn tries again."""
    latest = linckia.get(ledger.latest.remote())
    if latest is None or latest[1] in found.killed:
        return
    number, pid = latest
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if watch.owns(pid) and process.signal_pidfd(pidfd, signal.SIGKILL):
            found.killed.append(pid)
            console.print(f"[yellow]worker process {pid} killed with SIGKILL while it ran batch {number}[/yellow]")
    finally:
        os.close(pidfd)


# --- what is shown ----------------------------------------------------------------------------------------------------


class _Stopwatch:
    def __init__(self) -> None:
        self._last_s = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        last_s, self._last_s = self._last_s, time.perf_counter()
        return self._last_s - last_s


@contextmanager
def _progress(console: Console, what: str, total: int) -> Iterator[Advance]:
    """A bar on a terminal, a line now and then elsewhere. Yields what is told how much is done."""
    if console.is_terminal:
        columns = (TextColumn("{task.description:<26}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(what, total=total)
            yield lambda done: progress.update(task, completed=done)
        return
    shown = 0

    def advance(done: int) -> None:
        nonlocal shown
        step = done * PLAIN_STEPS // total
        if step > shown:
            shown = step
            console.print(f"{what}: {done:,} of {total:,} files")

    yield advance


def _table(found: Run, expected: Measures, plain_s: float) -> Table:
    table = Table(title="What Python's library is made of", title_justify="left")
    for name, justify in (("", "left"), ("Linckia", "right"), ("plain loop", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type] # rich's literal type of justify
    ours = _rows(found.measures)
    for name, value in _rows(expected).items():
        table.add_row(name, ours[name], value)
    table.add_section()
    table.add_row("seconds", f"{found.total_s:.2f}", f"{plain_s:.2f}", style="bold")
    parts = (
        ("start", found.started_s),
        ("put", found.shared_s),
        ("tasks", found.measured_s),
        ("stop", found.stopped_s),
    )
    for name, seconds in parts:
        table.add_row(f"  {name}", f"{seconds:.2f}", "")
    return table


def _rows(measures: Measures) -> dict[str, str]:
    counted = {
        "files": measures.files,
        "bytes": measures.size_bytes,
        "lines": measures.lines,
        "statements": measures.statements,
        "classes": measures.classes,
        "functions": measures.functions,
        "longest function, lines": measures.longest[0],
        "deepest nesting": measures.deepest[0],
        "broken on purpose": measures.not_python,
    }
    rows = {name: f"{value:,}" for name, value in counted.items()}
    favourites = sorted(measures.imports.items(), key=lambda item: (-item[1], item[0]))[:3]
    return rows | {"imported most": "\n".join(f"{name} {count:,}" for name, count in favourites)}


def _verdict(found: Run, expected: Measures, plain_s: float, console: Console) -> bool:
    kills, retries, left = len(found.killed), found.retried_tasks, found.left_behind
    checks = (
        (found.measures == expected, "totals equal the plain loop's", "totals DIFFER from the plain loop's"),
        (
            bool(kills and retries),
            f"{kills} worker killed, {retries} task{'s' * (retries != 1)} retried, each batch counted once",
            f"{kills} workers killed, but no task was retried",
        ),
        (not left, "nothing left behind: no process, no session directory", f"left behind: {', '.join(left)}"),
    )
    for good, said, complaint in checks:
        console.print(f"[green]ok[/green]     {said}" if good else f"[red]FAILED[/red] {complaint}")
    console.print(f"{plain_s / found.total_s:.2f} times the speed of the plain loop, start and stop included")
    return all(good for good, _, _ in checks)
