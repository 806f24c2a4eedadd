"""Application metrics: `Counter`, `Gauge` and `Histogram`, recorded in the process that reports them.

User programs call them in drivers, tasks and actors. `collect()` is for the node's metrics agent, which adds the
`ray_` prefix and the counters' `_total` and serves the figures. Nothing here opens a socket or starts a thread.
"""

from __future__ import annotations

import bisect
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict, TypeVar

_VALID_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_Self = TypeVar("_Self", bound="Metric")

TagValues = tuple[tuple[str, str], ...]  # sorted, so that one set of tags has one key


class MetricInfo(TypedDict, total=False):
    """What `Metric.info` tells; `boundaries` for histograms only."""

    name: str
    description: str
    tag_keys: tuple[str, ...]
    default_tags: dict[str, str]
    boundaries: list[float]


@dataclass(frozen=True)
class Sample:
    """One series of one metric at the moment of `collect()`."""

    kind: str
    name: str
    description: str
    tags: TagValues
    value: float
    """Sum of all increments, last value set, or sum of all observations."""
    count: int = 0
    """Observations (histograms only)."""
    boundaries: tuple[float, ...] = ()
    bucket_counts: tuple[int, ...] = ()
    """One per boundary, for observations not above it and above the one before, and a last one for the rest."""


@dataclass
class _Series:
    value: float = 0.0
    count: int = 0
    buckets: list[int] | None = None


class _Recorder:
    """All series of this process. Metrics of the same name add up, as two workers' would."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.series: dict[tuple[str, str, TagValues], _Series] = {}
        self.metrics: dict[tuple[str, str], Metric] = {}

    def at(self, metric: Metric, tags: Mapping[str, str]) -> _Series:
        """The series to change; only under `lock`."""
        self.metrics.setdefault((metric.kind, metric.name), metric)
        return self.series.setdefault((metric.kind, metric.name, tuple(sorted(tags.items()))), _Series())


_recorder = _Recorder()


def collect() -> Iterator[Sample]:
    """Every series that this process has recorded so far, in order of first use. Does not reset anything."""
    with _recorder.lock:
        rows = [
            (kind, name, tags, series.value, series.count, tuple(series.buckets or ()))
            for (kind, name, tags), series in _recorder.series.items()
        ]
        metrics = dict(_recorder.metrics)
    for kind, name, tags, value, count, buckets in rows:
        metric = metrics[kind, name]
        yield Sample(kind, name, metric.description, tags, value, count, metric.boundaries, buckets)


class Metric:
    """What the three kinds share: the name, the declared tags and their defaults. Use one of the subclasses."""

    kind = ""
    boundaries: tuple[float, ...] = ()

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None) -> None:
        """Raises TypeError or ValueError for wrong arguments. A name that Prometheus would refuse only warns: the
        metric can be used, but nothing is recorded."""
        label = type(self).__name__
        if not isinstance(name, str):
            raise TypeError(f"{label}: name must be a str, not {name!r}")
        if not name:
            raise ValueError(f"{label}: name must not be empty")
        if tag_keys is not None and not isinstance(tag_keys, tuple):
            raise TypeError(f"{label} {name!r}: tag_keys must be a tuple of str, not {type(tag_keys).__name__}")
        for key in tag_keys or ():
            if not isinstance(key, str):
                raise TypeError(f"{label} {name!r}: tag_keys must hold str only, found {key!r}")
        self.name = name
        self.description = description
        self.tag_keys: tuple[str, ...] = tag_keys or ()
        self.default_tags: dict[str, str] = {}
        self.discarded = _VALID_NAME.fullmatch(name) is None
        if self.discarded:
            warnings.warn(
                f"{label} {name!r} is not recorded: a metric's name has letters, digits, '_' and ':' only "
                "and does not begin with a digit",
                stacklevel=3,
            )

    @property
    def info(self) -> MetricInfo:
        """The arguments that made this metric, with its default tags."""
        return {
            "name": self.name,
            "description": self.description,
            "tag_keys": self.tag_keys,
            "default_tags": dict(self.default_tags),
        }

    def set_default_tags(self: _Self, default_tags: Mapping[str, str]) -> _Self:
        """Values for declared tags that a call does not give. Returns the metric itself."""
        for key, value in default_tags.items():
            if key not in self.tag_keys:
                declared = ", ".join(self.tag_keys) or "none"
                raise ValueError(f"{self.name!r}: default tag {key!r} is not among the tag_keys ({declared})")
            self._check_tag_value(key, value)
        self.default_tags = dict(default_tags)
        return self

    def _tags_of_call(self, tags: Mapping[str, str] | None) -> dict[str, str]:
        """Defaults and the call's tags together. Undeclared tags are kept: Ray accepts them too."""
        final = {**self.default_tags, **(tags or {})}
        missing = [key for key in self.tag_keys if key not in final]
        if missing:
            raise ValueError(f"{self.name!r}: no value for tag(s) {', '.join(missing)}; give tags= or set_default_tags")
        for key, value in final.items():
            self._check_tag_value(key, value)
        return final

    def _check_tag_value(self, key: str, value: object) -> None:
        if not isinstance(value, str):
            raise TypeError(f"{self.name!r}: value of tag {key!r} must be a str, not {value!r}")

    def _check_number(self, value: object) -> None:
        if not isinstance(value, int | float):
            raise TypeError(f"{self.name!r}: value must be int or float, not {value!r}")


class Counter(Metric):
    """Something that only grows: requests served, bytes written."""

    kind = "counter"

    def inc(self, value: float = 1.0, tags: Mapping[str, str] | None = None) -> None:
        """Add `value` (greater than 0)."""
        self._check_number(value)
        if value <= 0:
            raise ValueError(f"{self.name!r}: a counter is increased by more than 0, not by {value!r}")
        final = self._tags_of_call(tags)
        if not self.discarded:
            with _recorder.lock:
                _recorder.at(self, final).value += value

    def __reduce__(self) -> tuple[object, ...]:
        return _remake, (Counter, self.name, self.description, self.tag_keys, self.default_tags)


class Gauge(Metric):
    """Something that goes up and down: queue length, temperature."""

    kind = "gauge"

    def set(self, value: float | None, tags: Mapping[str, str] | None = None) -> None:
        """Replace the value. None changes nothing, so that an unknown reading can be passed on."""
        final = self._tags_of_call(tags)
        if value is None:
            return
        self._check_number(value)
        if not self.discarded:
            with _recorder.lock:
                _recorder.at(self, final).value = value

    def __reduce__(self) -> tuple[object, ...]:
        return _remake, (Gauge, self.name, self.description, self.tag_keys, self.default_tags)


class Histogram(Metric):
    """How often something fell into which range: latencies, sizes."""

    kind = "histogram"

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: Sequence[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ) -> None:
        """`boundaries` are the upper ends of the ranges, all above 0; the order does not matter."""
        super().__init__(name, description, tag_keys)
        if not boundaries:
            raise ValueError(f"Histogram {name!r}: boundaries are required, for instance boundaries=[0.1, 1.0, 10.0]")
        for boundary in boundaries:
            if not isinstance(boundary, int | float):
                raise TypeError(f"Histogram {name!r}: boundaries must be numbers, found {boundary!r}")
            if boundary <= 0:
                raise ValueError(f"Histogram {name!r}: boundaries must be greater than 0, found {boundary!r}")
        self._given_boundaries = list(boundaries)
        self.boundaries = tuple(sorted(boundaries))

    @property
    def info(self) -> MetricInfo:
        """The arguments that made this metric, with its default tags and the boundaries as given."""
        return {**super().info, "boundaries": list(self._given_boundaries)}

    def observe(self, value: float, tags: Mapping[str, str] | None = None) -> None:
        """Count one observation."""
        self._check_number(value)
        final = self._tags_of_call(tags)
        if self.discarded:
            return
        with _recorder.lock:
            series = _recorder.at(self, final)
            if series.buckets is None:
                series.buckets = [0] * (len(self.boundaries) + 1)
            # A second histogram of this name may have fewer boundaries: the series keeps those it began with.
            place = min(bisect.bisect_left(self.boundaries, value), len(series.buckets) - 1)
            series.buckets[place] += 1
            series.value += value
            series.count += 1

    def __reduce__(self) -> tuple[object, ...]:
        return _remake_histogram, (
            self.name,
            self.description,
            self._given_boundaries,
            self.tag_keys,
            self.default_tags,
        )


# Pickling carries the definition only: figures stay in the process that recorded them.
def _remake(
    kind: type[Metric], name: str, description: str, tag_keys: tuple[str, ...], default_tags: dict[str, str]
) -> Metric:
    return kind(name, description, tag_keys).set_default_tags(default_tags)


def _remake_histogram(
    name: str, description: str, boundaries: list[float], tag_keys: tuple[str, ...], default_tags: dict[str, str]
) -> Histogram:
    return Histogram(name, description, boundaries, tag_keys).set_default_tags(default_tags)


__all__ = ["Counter", "Gauge", "Histogram", "Metric", "Sample", "collect"]
