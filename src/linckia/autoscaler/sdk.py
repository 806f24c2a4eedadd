"""For programs: ask for a size of the cluster (R 10.11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from linckia.base.labels import Selector

__all__ = ["request_resources"]


def request_resources(
    num_cpus: int | None = None,
    bundles: Sequence[Mapping[str, float]] | None = None,
    bundle_label_selectors: Sequence[Mapping[str, str]] | None = None,
) -> None:
    """Have the autoscaler hold the cluster at a size that could run this, used or not, until the next call.

    ``num_cpus`` counts as so many bundles of one CPU; ``bundle_label_selectors`` has one for each of ``bundles``.
    ``num_cpus=0`` or ``bundles=[]`` clears. TypeError and ValueError
    for what is neither.
    """
    wanted: list[dict[str, float]] = []
    if num_cpus is not None:
        if isinstance(num_cpus, bool) or not isinstance(num_cpus, int):
            raise TypeError(f"request_resources(num_cpus=...) must be an int, got {type(num_cpus).__name__}")
        if num_cpus < 0:
            raise ValueError(f"request_resources(num_cpus={num_cpus}): must be 0 or more")
        wanted += [{"CPU": 1.0}] * num_cpus
    if bundles is not None:
        wanted += _checked(bundles)
    selectors = _checked_selectors(bundle_label_selectors, len(bundles or ()))
    if selectors:
        selectors = [{} for _ in range(num_cpus or 0)] + selectors
    from linckia.api.remote_function import connected  # noqa: PLC0415  (start-up time)
    from linckia.protocol import messages as m  # noqa: PLC0415  (start-up time)

    runtime = connected()
    runtime.call(runtime.raylet, m.RequestResources(runtime.next_rid(), wanted, selectors))


def _checked(bundles: Any) -> list[dict[str, float]]:
    if not isinstance(bundles, (list, tuple)):
        raise TypeError(f"request_resources(bundles=...) must be a list of dicts, got {type(bundles).__name__}")
    checked = []
    for bundle in bundles:
        if not isinstance(bundle, Mapping):
            raise TypeError(f"request_resources(bundles=...): each must be a dict, got {type(bundle).__name__}")
        if not bundle:
            raise ValueError("request_resources(bundles=...): a bundle is empty")
        for name, amount in bundle.items():
            if isinstance(amount, bool) or not isinstance(amount, (int, float)):
                raise TypeError(f"request_resources(bundles=...): {name} must be a number, got {amount!r}")
            if amount < 0:
                raise ValueError(f"request_resources(bundles=...): {name} must be 0 or more, got {amount!r}")
        checked.append({str(name): float(amount) for name, amount in bundle.items()})
    return checked


def _checked_selectors(given: Any, bundles: int) -> list[dict[str, str]]:
    if given is None:
        return []
    if not isinstance(given, (list, tuple)) or not all(isinstance(each, Mapping) for each in given):
        raise TypeError("request_resources(bundle_label_selectors=...) must be a list of dicts")
    if len(given) != bundles:
        raise ValueError(
            f"request_resources(bundle_label_selectors=...): expected one per bundle, so {bundles}, got {len(given)}"
        )
    for each in given:
        Selector.parse(dict(each))  # ValueError says what is wrong
    return [dict(each) for each in given]
