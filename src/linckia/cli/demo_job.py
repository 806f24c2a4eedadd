"""The demo's job: measure Python source files, batch by batch, and add the measures up. Called by cli/demo.py.

The plain loop and the tasks run the very same `measure_batch`; the last two definitions are what the cluster adds. It
shows nothing and kills nobody.
"""

from __future__ import annotations

import ast
import os
import pickle
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import linckia

BATCH_BYTES = 256 * 1024
BATCHES_MIN = 32
FILES_MIN = 100
_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_NOT_OUR_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__"})


class Corpus:
    """Many files as one block of bytes.

    Sent to another process, the block travels out of band (pickle protocol 5): what arrives is a view of shared memory
    that all processes of the machine read, not a copy.
    """

    def __init__(self, names: list[str], ends: list[int], block: Any) -> None:
        self.names, self.ends, self.block = names, ends, memoryview(block)

    def __reduce_ex__(self, _protocol: object) -> tuple[Any, ...]:
        return Corpus, (self.names, self.ends, pickle.PickleBuffer(self.block))

    def __len__(self) -> int:
        return len(self.names)

    def source(self, index: int) -> bytes:
        """One file."""
        return bytes(self.block[self.ends[index - 1] if index else 0 : self.ends[index]])

    def batches(self) -> list[range]:
        """Indices of files in runs of about BATCH_BYTES, in smaller ones when there is little."""
        enough = min(BATCH_BYTES, self.block.nbytes // BATCHES_MIN)
        found, first, start = [], 0, 0
        for index, end in enumerate(self.ends):
            if end - start >= enough or index == len(self) - 1:
                found.append(range(first, index + 1))
                first, start = index + 1, end
        return found


def read_corpus(limit: int = 0) -> Corpus:
    """Every source file of this interpreter's library, or `limit` of them (at least FILES_MIN), taken evenly."""
    root = sysconfig.get_path("stdlib")
    paths = sorted(_python_files(root))
    if limit:
        limit = max(limit, FILES_MIN)
        paths = paths[:: max(1, len(paths) // limit)][:limit]
    contents = [Path(path).read_bytes() for path in paths]
    names = [os.path.relpath(path, root) for path in paths]
    return Corpus(names, list(accumulate(map(len, contents))), b"".join(contents))


def _python_files(root: str) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _NOT_OUR_LIBRARY]
        yield from (os.path.join(folder, name) for name in files if name.endswith(".py"))


@dataclass
class Measures:
    """What is known about a number of files. Adding up gives the same in any order."""

    files: int = 0
    size_bytes: int = 0
    lines: int = 0
    statements: int = 0
    classes: int = 0
    functions: int = 0
    deepest: tuple[int, str] = (0, "")
    longest: tuple[int, str] = (0, "")
    not_python: int = 0
    """Files that do not parse: the library's tests keep broken ones on purpose."""
    imports: Counter[str] = field(default_factory=Counter)

    def add(self, more: Measures) -> None:
        """Take the other's numbers in."""
        for name in ("files", "size_bytes", "lines", "statements", "classes", "functions", "not_python"):
            setattr(self, name, getattr(self, name) + getattr(more, name))
        self.deepest, self.longest = max(self.deepest, more.deepest), max(self.longest, more.longest)
        self.imports.update(more.imports)


def measure_batch(corpus: Corpus, batch: range) -> Measures:
    """Parse and measure these files."""
    total = Measures()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd escapes in strings of the library's tests
        for index in batch:
            total.add(measure(corpus.names[index], corpus.source(index)))
    return total


def measure(name: str, source: bytes) -> Measures:
    """Parse and measure one file."""
    found = Measures(files=1, size_bytes=len(source), lines=source.count(b"\n"))
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        found.not_python = 1
        return found
    for node, depth in _statements(tree):
        found.statements += 1
        found.deepest = max(found.deepest, (depth, name))
        if isinstance(node, _DEFINITIONS):
            found.functions += 1
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            found.longest = max(found.longest, (length, f"{node.name} in {name}"))
        elif isinstance(node, ast.ClassDef):
            found.classes += 1
        elif isinstance(node, ast.Import):
            found.imports.update({alias.name.partition(".")[0] for alias in node.names})
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.imports[node.module.partition(".")[0]] += 1
    return found


def _statements(tree: ast.AST) -> Iterator[tuple[ast.AST, int]]:
    """Statements and how deep they stand. Expressions, nine tenths of a tree, are not visited."""
    waiting = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        for block in _BLOCKS:
            for inner in getattr(node, block, ()):
                waiting.append((inner, depth + 1))
                yield inner, depth + 1


# --- the same with tasks and an actor ---------------------------------------------------------------------------------


class Ledger:
    """The actor: adds up what the tasks measured, each batch once, and knows which process works on which batch."""

    def __init__(self) -> None:
        self.total = Measures()
        self.running: dict[int, int] = {}
        self.added: set[int] = set()

    def started(self, number: int, pid: int) -> None:
        """Said by a task when it begins; again by its second attempt, from another process."""
        self.running.pop(number, None)  # the latest start stands last
        self.running[number] = pid

    def add(self, number: int, measures: Measures) -> int:
        """Count a batch. Returns how many files are counted now."""
        if number in self.added:
            raise ValueError(f"batch {number} was to be counted twice")
        self.added.add(number)
        self.running.pop(number, None)
        self.total.add(measures)
        return self.total.files

    def latest(self) -> tuple[int, int] | None:
        """(batch, pid) of the batch that began last and is not counted yet."""
        return next(reversed(self.running.items()), None)

    def result(self) -> Measures:
        """The sum so far."""
        return self.total


@linckia.remote
def measure_remotely(corpus: Corpus, number: int, batch: range, ledger: Any) -> Measures:
    """`measure_batch`, telling the ledger which process does it."""
    ledger.started.remote(number, os.getpid())
    return measure_batch(corpus, batch)
