"""Node labels and selectors, in Kubernetes' syntax, and whether one matches the other.

A label is `[prefix/]name: value`. A selector maps keys to a condition: `v`, `!v`, `in(a,b)` or `!in(a,b)`. The API
checks what users write, placement asks `matches`. A node without the key satisfies the negative conditions only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from linckia.base.limits import LABEL_NAME_MAX_CHARS, LABEL_PREFIX_MAX_CHARS

_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_PREFIX: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_NAME_RULE: Final = (
    f"at most {LABEL_NAME_MAX_CHARS} letters, digits, '-', '_' or '.', beginning and ending with a letter or digit"
)
_IN: Final = re.compile(r"in\((.*)\)")


class LabelError(ValueError):
    """A label or selector that does not follow the syntax. The user's to correct; the message cites the rule."""


def check_key(key: object) -> str:
    """`key` itself when it is a label key; TypeError or LabelError otherwise."""
    text = _text(key, "a label key")
    prefix, slash, name = text.rpartition("/")
    if slash and (len(prefix) > LABEL_PREFIX_MAX_CHARS or not _PREFIX.fullmatch(prefix)):
        raise LabelError(f"label key {text!r}: the part before '/' must be a DNS name of at most 253 characters")
    if not _is_name(name):
        raise LabelError(f"label key {text!r}: the name must be {_NAME_RULE}")
    return text


def check_value(value: object, key: str) -> str:
    """`value` itself when it may stand under `key`; an empty value may. TypeError or LabelError otherwise."""
    text = _text(value, f"the value of label {key!r}")
    if text and not _is_name(text):
        raise LabelError(f"label {key!r}: value {text!r} must be empty or {_NAME_RULE}")
    return text


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """A copy of a node's `labels` once each is checked."""
    return {check_key(key): check_value(value, key) for key, value in labels.items()}


class Condition:
    """What a selector asks of one key: its value is, or is not, one of `values`."""

    __slots__ = ("key", "negated", "values")

    def __init__(self, key: str, values: frozenset[str], negated: bool) -> None:
        self.key = key
        self.values = values
        self.negated = negated

    @classmethod
    def parse(cls, key: object, condition: object) -> Condition:
        """The condition of one selector entry; TypeError or LabelError when it is not one."""
        name = check_key(key)
        text = _text(condition, f"the condition for label {name!r}").strip()
        negated = text.startswith("!")
        body = text[1:].strip() if negated else text
        listed = _IN.fullmatch(body)
        values = [part.strip() for part in listed.group(1).split(",")] if listed else [body]
        if not all(values):
            raise LabelError(f"label selector {name!r}: {text!r} has an empty value; write v, !v, in(a,b) or !in(a,b)")
        return cls(name, frozenset(check_value(value, name) for value in values), negated)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these `labels` satisfies the condition."""
        return (labels.get(self.key) in self.values) is not self.negated

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Condition) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __str__(self) -> str:
        values = sorted(self.values)
        body = values[0] if len(values) == 1 else f"in({','.join(values)})"
        return ("!" if self.negated else "") + body

    def __repr__(self) -> str:
        return f"Condition({self.key}: {self})"

    def _identity(self) -> tuple[str, bool, tuple[str, ...]]:
        return (self.key, self.negated, tuple(sorted(self.values)))


class Selector:
    """Conditions that must all hold. Equal selectors are equal keys, whatever order they were written in."""

    __slots__ = ("conditions",)

    def __init__(self, conditions: tuple[Condition, ...] = ()) -> None:
        self.conditions = tuple(sorted(conditions, key=lambda condition: condition.key))

    @classmethod
    def parse(cls, selector: Mapping[str, str]) -> Selector:
        """The selector a user wrote; TypeError or LabelError names the entry that is wrong. Empty matches any node."""
        if not isinstance(selector, Mapping):
            raise TypeError(f"a label selector must be a dict of text to text, got {type(selector).__name__}")
        return cls(tuple(Condition.parse(key, condition) for key, condition in selector.items()))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these `labels` satisfies every condition."""
        return all(condition.matches(labels) for condition in self.conditions)

    def mismatches(self, labels: Mapping[str, str]) -> list[str]:
        """Why a node with these `labels` does not match, one sentence per condition; empty when it does."""
        return [
            f"label {condition.key!r} must be {condition}, is {labels.get(condition.key, 'absent')}"
            for condition in self.conditions
            if not condition.matches(labels)
        ]

    def as_dict(self) -> dict[str, str]:
        """The selector as a user would write it; `parse` of it gives an equal selector."""
        return {condition.key: str(condition) for condition in self.conditions}

    def __iter__(self) -> Iterator[Condition]:
        return iter(self.conditions)

    def __len__(self) -> int:
        return len(self.conditions)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selector) and self.conditions == other.conditions

    def __hash__(self) -> int:
        return hash(self.conditions)

    def __repr__(self) -> str:
        return f"Selector({self.as_dict()})"


def first_match(selectors: tuple[Selector, ...], labels: Mapping[str, str]) -> int | None:
    """Index of the first of `selectors` (a primary and its fallbacks, in order) that `labels` satisfies, or None."""
    return next((index for index, selector in enumerate(selectors) if selector.matches(labels)), None)


def _is_name(text: str) -> bool:
    return len(text) <= LABEL_NAME_MAX_CHARS and _NAME.fullmatch(text) is not None


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be text, got {value!r} ({type(value).__name__})")
    return value
