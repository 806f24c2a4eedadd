"""Application metrics: validation, tags, and what is recorded in the process."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import pytest
from engine import IS_LINCKIA, better, module

pytestmark = pytest.mark.row("11.9")
metrics: Any = module("util.metrics")
Counter, Gauge, Histogram = metrics.Counter, metrics.Gauge, metrics.Histogram


def sample(name: str, **tags: str) -> Any:
    """The one series of that name and those tags (Linckia only)."""
    (found,) = (s for s in metrics.collect() if s.name == name and dict(s.tags) == tags)
    return found


def test_info() -> None:
    counter = Counter("info_counter", "what it is", ("route",))
    assert counter.info == {
        "name": "info_counter",
        "description": "what it is",
        "tag_keys": ("route",),
        "default_tags": {},
    }
    assert counter.set_default_tags({"route": "/"}) is counter
    assert counter.info["default_tags"] == {"route": "/"}
    assert Gauge("info_gauge").info == {
        "name": "info_gauge",
        "description": "",
        "tag_keys": (),
        "default_tags": {},
    }
    assert Histogram("info_histogram", boundaries=[2, 1]).info["boundaries"] == [2, 1]


def test_names() -> None:
    with pytest.raises(ValueError, match="name"):
        Counter("")
    with pytest.raises(TypeError):
        Counter(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Counter("letters_and_digits_1")


@pytest.mark.parametrize("name", ["a-b", "1a", "a b"])
def test_a_name_that_prometheus_refuses_warns_and_records_nothing(name: str) -> None:
    with pytest.warns(UserWarning, match=name):
        counter = Counter(name)
    counter.inc()
    if IS_LINCKIA:
        assert name not in {s.name for s in metrics.collect()}


def test_tag_keys() -> None:
    for wrong in (["a"], {"a": 1}, (1,)):
        with pytest.raises(TypeError, match=r"(?i)tag.?keys"):
            Counter("tag_keys", tag_keys=wrong)


@pytest.mark.parametrize("value", [0, -1, -0.5])
def test_a_counter_only_grows(value: float) -> None:
    with pytest.raises(ValueError, match=str(value)):
        Counter("grows").inc(value)


def test_values_are_numbers() -> None:
    with pytest.raises(TypeError, match="int or float"):
        Counter("numbers_c").inc("1")
    with pytest.raises(TypeError, match="int or float"):
        Gauge("numbers_g").set("1")
    with pytest.raises(TypeError, match="int or float"):
        Histogram("numbers_h", boundaries=[1]).observe("1")


def test_tags_of_a_call() -> None:
    counter = Counter("call_tags", tag_keys=("a", "b"))
    with pytest.raises(ValueError, match="b"):
        counter.inc(1, {"a": "1"})
    with pytest.raises(TypeError, match="str"):
        counter.inc(1, {"a": "1", "b": 2})
    with pytest.raises(TypeError, match="str"):
        counter.inc(1, {"a": "1", "b": None})
    counter.inc(1, {"a": "1", "b": "2"})
    counter.inc(1, {"a": "1", "b": "2", "undeclared": "kept"})
    counter.set_default_tags({"a": "default", "b": "default"})
    counter.inc()
    counter.inc(tags={"undeclared": "kept"})


def test_default_tags_are_checked() -> None:
    counter = Counter("default_tags", tag_keys=("a",))
    with pytest.raises(ValueError, match="unknown"):
        counter.set_default_tags({"unknown": "1"})
    with pytest.raises(TypeError, match="str"):
        counter.set_default_tags({"a": 1})


@pytest.mark.parametrize("boundaries", [None, [], [0, 1], [-1], [1, -2]])
def test_boundaries(boundaries: list[float] | None) -> None:
    with pytest.raises(ValueError, match="boundaries"):
        Histogram("boundaries", boundaries=boundaries)


def test_pickling_keeps_the_definition() -> None:
    counter = Counter("pickled", "text", ("a",)).set_default_tags({"a": "1"})
    gauge = Gauge("pickled_gauge", "text", ("a",))
    histogram = Histogram("pickled_histogram", "text", [1.0, 2.0], ("a",))
    for metric in (counter, gauge, histogram):
        copy = pickle.loads(pickle.dumps(metric))
        assert type(copy) is type(metric)
        assert copy.info | {"default_tags": {}} == metric.info | {"default_tags": {}}
    if IS_LINCKIA:
        assert pickle.loads(pickle.dumps(counter)).info == counter.info


def test_a_gauge_ignores_none() -> None:
    gauge = Gauge("ignores_none")
    gauge.set(3)
    gauge.set(None)
    if IS_LINCKIA:
        assert sample("ignores_none").value == 3


@better("Ray's figures leave the process at once")
def test_what_is_recorded() -> None:
    counter = Counter("recorded_c", "text", ("route",)).set_default_tags({"route": "/"})
    counter.inc()
    counter.inc(2.5)
    counter.inc(4, {"route": "/other"})
    Counter("recorded_c", tag_keys=("route",)).inc(1, {"route": "/"})
    assert (sample("recorded_c", route="/").value, sample("recorded_c", route="/other").value) == (4.5, 4)
    assert sample("recorded_c", route="/").description == "text"

    gauge = Gauge("recorded_g")
    gauge.set(5)
    gauge.set(2)
    assert (sample("recorded_g").kind, sample("recorded_g").value) == ("gauge", 2)

    histogram = Histogram("recorded_h", boundaries=[10, 1])
    for value in (0.5, 1, 1.1, 10, 11, 1000):
        histogram.observe(value)
    found = sample("recorded_h")
    assert (found.boundaries, found.bucket_counts) == ((1, 10), (2, 2, 2))
    assert (found.count, found.value) == (6, 1023.6)
