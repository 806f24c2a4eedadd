"""The house's own lint rules, as functions from a parsed file to findings.

Ruff, mypy and import-linter hold everything they can hold; here is the rest. `test_tidy.py` applies the rules to the
tree, `test_rules.py` shows each one catching its example, `allow.toml` lists the exceptions with their reasons.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

MAX_FILE_LINES = 500
MAX_TEST_FILE_LINES = 800
MAX_FUNCTION_LINES = 60

PURE_ROOMS = ("base", "model", "protocol", "core")
VAGUE_NAMES = frozenset({"common", "helper", "helpers", "internal", "lib", "misc", "shared", "tools", "util", "utils"})
BANNED_CALLS_IN_PURE_ROOMS = {
    "open": "files are read in host",
    "print": "return reasons instead; the shell reports",
    "input": "values are arguments",
    "id": "an address differs between two runs of one seed; use an id from base.ids",
    "hash": "hashes of text differ between two runs of one seed; use a sorted key",
    "eval": "there is always another way",
    "exec": "there is always another way",
    "breakpoint": "left over from debugging",
}
SLEEP = re.compile(r"\b(?:time|asyncio)\.sleep\(\s*(?!0\s*\))")
SLEEP_REASON = re.compile(r"#\s*sleep:\s*\S+")


@dataclass(frozen=True)
class Finding:
    """One place that breaks one rule."""

    path: str
    line: int
    rule: str
    message: str
    size: int | None = None
    """For rules with a cap, what was measured; an allowance may name a higher cap."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


@dataclass(frozen=True)
class Source:
    """A Python file: its path from the root of the repository, with slashes, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.path).parts

    @property
    def is_test(self) -> bool:
        return self.parts[0] == "tests"

    @property
    def is_product(self) -> bool:
        return self.parts[:2] == ("src", "linckia")

    @property
    def is_pure(self) -> bool:
        return self.is_product and len(self.parts) > 2 and self.parts[2] in PURE_ROOMS

    def finding(self, rule: str, node: ast.AST | int, message: str, size: int | None = None) -> Finding:
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return Finding(self.path, line, rule, message, size)


Rule = Callable[[Source], Iterator[Finding]]


def file_length(source: Source) -> Iterator[Finding]:
    """A file is one subject; beyond the cap it has become two."""
    cap = MAX_TEST_FILE_LINES if source.is_test else MAX_FILE_LINES
    lines = source.text.count("\n")
    if lines > cap:
        yield source.finding("file-length", 1, f"{lines} lines, at most {cap}: split by subject", lines)


def function_length(source: Source) -> Iterator[Finding]:
    """A function fits on a screen."""
    for node in _functions(source):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > MAX_FUNCTION_LINES:
            message = f"{node.name} has {lines} lines, at most {MAX_FUNCTION_LINES}: name its parts"
            yield source.finding("function-length", node, message, lines)


def module_docstring(source: Source) -> Iterator[Finding]:
    """Every module opens with what it does, who calls it and what it refuses to do."""
    if source.text.strip() and not ast.get_docstring(source.tree):
        yield source.finding("module-docstring", 1, "say what it decides or does, who calls it, what it refuses to do")


def module_name(source: Source) -> Iterator[Finding]:
    """A name says what is inside, and does not hide a module of the standard library."""
    if not source.is_product:
        return
    inside = source.parts[2:]
    names = [PurePosixPath(inside[-1]).stem] if inside[-1] != "__init__.py" else list(inside[-2:-1])
    for name in names:
        if name in VAGUE_NAMES:
            yield source.finding("module-name", 1, f"{name!r} could hold anything: name the subject")
        if name in sys.stdlib_module_names and name != "__main__":
            yield source.finding("module-name", 1, f"{name!r} is a module of the standard library")


def pure_rooms(source: Source) -> Iterator[Finding]:
    """Decisions do no I/O, never suspend and give the same answer in every process."""
    if not source.is_pure:
        return
    hash_methods = {node for node in _functions(source) if node.name == "__hash__"}
    allowed = {call for method in hash_methods for call in ast.walk(method) if isinstance(call, ast.Call)}
    for node in source.nodes:
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield source.finding("pure-rooms", node, "no async: return a command and let the shell wait")
        elif isinstance(node, ast.Global):
            yield source.finding("pure-rooms", node, "no global: state belongs to an object that its caller owns")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node not in allowed:
            reason = BANNED_CALLS_IN_PURE_ROOMS.get(node.func.id)
            if reason:
                yield source.finding("pure-rooms", node, f"{node.func.id}(): {reason}")


def set_order(source: Source) -> Iterator[Finding]:
    """The order of a set differs between two runs of one seed, so it must not decide."""
    if not source.is_pure:
        return
    for node in source.nodes:
        if isinstance(node, ast.For | ast.comprehension) and _is_bare_set(node.iter):
            yield source.finding("set-order", node.iter, "iterates over a set: use sorted(...) or a dict")
        match node:
            case ast.Call(func=ast.Name(id="list" | "tuple" | "iter"), args=[first, *_]) if _is_bare_set(first):
                yield source.finding("set-order", node, "orders a set by chance: use sorted(...)")


def test_sleep(source: Source) -> Iterator[Finding]:
    """A test waits for an event; if it must pass time it says why, in `# sleep: reason`."""
    if not source.is_test:
        return
    lines = source.text.splitlines()
    for number, line in enumerate(lines, 1):
        if SLEEP.search(line.partition("#")[0]):
            above = lines[number - 2] if number > 1 else ""
            if not (SLEEP_REASON.search(line) or SLEEP_REASON.search(above)):
                yield source.finding("test-sleep", number, "wait for an event, or write `# sleep: why` beside it")


RULES: tuple[Rule, ...] = (
    file_length,
    function_length,
    module_docstring,
    module_name,
    pure_rooms,
    set_order,
    test_sleep,
)


def check(source: Source) -> list[Finding]:
    """Every finding of every rule in one file."""
    return [finding for rule in RULES for finding in rule(source)]


def _functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _is_bare_set(node: ast.expr) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset")
