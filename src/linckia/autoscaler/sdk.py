"""For programs: ask for a size of the cluster (R 10.11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["request_resources"]


def request_resources(
    num_cpus: int | None = None,
    bundles: Sequence[Mapping[str, float]] | None = None,
    bundle_label_selectors: Sequence[Mapping[str, str]] | None = None,
) -> None:
    """Have the autoscaler hold the cluster at a size that could run this, used or not, until the next call.

    ``num_cpus`` counts as so many bundles of one CPU; ``num_cpus=0`` or ``bundles=[]`` clears. TypeError and ValueError
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
    if bundle_label_selectors is not None and len(bundle_label_selectors) != len(bundles or ()):
        raise ValueError("request_resources(bundle_label_selectors=...): one per bundle")
    from linckia.api.remote_function import connected  # noqa: PLC0415  (start-up time)
    from linckia.protocol import messages as m  # noqa: PLC0415  (start-up time)

    runtime = connected()
    runtime.call(runtime.raylet, m.RequestResources(runtime.next_rid(), wanted))


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
