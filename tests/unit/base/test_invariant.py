"""`invariant()`: silent when true, loud with evidence when not, also under `python -O`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from linckia.base.invariant import InvariantError, invariant


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("formatted too early")


def test_a_true_claim_costs_no_formatting() -> None:
    invariant(True, "fine", Unprintable())


def test_a_broken_claim_shows_its_evidence() -> None:
    with pytest.raises(InvariantError, match=r"^broken invariant: count is positive \(-1; 'lease-7'\)$"):
        invariant(False, "count is positive", -1, "lease-7")
    with pytest.raises(InvariantError, match="^broken invariant: alone$"):
        invariant(False, "alone")


def test_it_survives_optimisation() -> None:
    code = "from linckia.base.invariant import invariant; invariant(0, 'kept')"
    run = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False)
    assert "broken invariant: kept" in run.stderr
