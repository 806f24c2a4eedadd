"""Labels: Kubernetes' syntax, the four conditions, and reasons for a mismatch."""

from __future__ import annotations

from typing import Any

import pytest

from linckia.base.labels import Condition, LabelError, Selector, check_key, check_labels, check_value, first_match


@pytest.mark.row("2.8")
@pytest.mark.parametrize("key", ["a", "zone", "ray.io/node-id", "a.b-c.d/x_y.Z-9", "p" * 253 + "/n", "n" * 63])
def test_keys_that_kubernetes_accepts(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.row("2.8")
@pytest.mark.parametrize(
    "key",
    ["", "/", "/n", "p/", "-a", "a-", "a b", "A.b/", "Upper/n", "a..b/n", "a/b/c", "n" * 64, "p" * 254 + "/n", "ä"],
)
def test_keys_that_kubernetes_refuses(key: str) -> None:
    with pytest.raises(LabelError, match="label key"):
        check_key(key)


def test_values_may_be_empty_but_not_malformed() -> None:
    assert check_value("", "zone") == ""
    assert check_value("us-west_1.a", "zone") == "us-west_1.a"
    for bad in ["-x", "x y", "x" * 64, "x\n"]:
        with pytest.raises(LabelError, match="label 'zone'"):
            check_value(bad, "zone")
    with pytest.raises(TypeError, match="value of label 'zone' must be text, got 5"):
        check_value(5, "zone")
    with pytest.raises(TypeError, match="label key must be text"):
        check_labels({5: "x"})  # type: ignore[dict-item]


@pytest.mark.row("2.8")
@pytest.mark.row("2.12")
@pytest.mark.parametrize(
    ("condition", "on_a", "on_b", "on_none"),
    [
        ("a", True, False, False),
        ("!a", False, True, True),
        ("in(a,c)", True, False, False),
        ("in( a , b )", True, True, False),
        ("!in(a,c)", False, True, True),
        ("! in(a)", False, True, True),
    ],
)
def test_the_four_conditions(condition: str, on_a: bool, on_b: bool, on_none: bool) -> None:
    selector = Selector.parse({"zone": condition})
    assert selector.matches({"zone": "a"}) is on_a
    assert selector.matches({"zone": "b"}) is on_b
    assert selector.matches({"other": "a"}) is on_none


@pytest.mark.row("2.8")
@pytest.mark.parametrize("condition", ["", "!", "in()", "in(a,)", "!in()", "in(a", "in(a b)", "!!a", "not a"])
def test_malformed_conditions_are_refused(condition: str) -> None:
    with pytest.raises(LabelError, match="zone"):
        Condition.parse("zone", condition)


@pytest.mark.parametrize("selector", [None, "zone=a", [("zone", "a")]])
def test_a_selector_is_a_dict(selector: Any) -> None:
    with pytest.raises(TypeError, match="must be a dict of text to text"):
        Selector.parse(selector)


def test_equal_selectors_are_equal_keys() -> None:
    some = Selector.parse({"zone": "in(a,b)", "gpu": "!T4"})
    same = Selector.parse({"gpu": "!in(T4)", "zone": "in(b, a)"})
    assert some == same
    assert len({some, same}) == 1
    assert some != Selector.parse({"zone": "in(a,b)"})
    assert some.as_dict() == {"gpu": "!T4", "zone": "in(a,b)"}
    assert Selector.parse(some.as_dict()) == some


def test_a_mismatch_says_which_label_and_why() -> None:
    selector = Selector.parse({"zone": "in(a,b)", "gpu": "T4", "disk": "!hdd"})
    assert selector.mismatches({"zone": "c", "disk": "ssd"}) == [
        "label 'gpu' must be T4, is absent",
        "label 'zone' must be in(a,b), is c",
    ]
    assert selector.mismatches({"zone": "a", "gpu": "T4"}) == []


def test_an_empty_selector_matches_any_node() -> None:
    assert Selector.parse({}).matches({})


@pytest.mark.row("2.9")
def test_fallbacks_are_tried_in_order() -> None:
    selectors = (Selector.parse({"zone": "a"}), Selector.parse({"zone": "b"}), Selector.parse({"zone": "in(b,c)"}))
    assert first_match(selectors, {"zone": "a"}) == 0
    assert first_match(selectors, {"zone": "b"}) == 1
    assert first_match(selectors, {"zone": "c"}) == 2
    assert first_match(selectors, {"zone": "d"}) is None
