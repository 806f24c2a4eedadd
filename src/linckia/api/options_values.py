"""Checks of single option values: TypeError for another type, ValueError for a bad value, both naming the option.

Each maker returns a check, which takes the option's name and the user's value and returns the value to keep. The tables
in `options_rules.py` put them together; nothing here knows which option belongs to what.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from linckia.api.options_held import Held, hold
from linckia.base.limits import RESOURCE_AMOUNT_MAX
from linckia.base.resources import ResourceSet

Check = Callable[[str, object], object]

_COUNT_MAX = 2**63 - 1  # counters travel as 64-bit numbers
_RESERVED_RESOURCES = {
    "CPU": "use num_cpus",
    "GPU": "use num_gpus",
    "memory": "use the option memory",
    "object_store_memory": "the object store is shared by all work on a node",
    "bundle": "it is reserved for placement groups",
}


def wrong_type(name: str, expected: str, value: object) -> TypeError:
    """The TypeError that names the option, what it takes and what it got."""
    return TypeError(f"option {name} must be {expected}, got {reprlib.repr(value)} ({type(value).__name__})")


def bad_value(name: str, expected: str, value: object) -> ValueError:
    """The ValueError that names the option, what it takes and what it got."""
    return ValueError(f"option {name} must be {expected}, got {reprlib.repr(value)}")


def count(minimum: int, *, zero_is_allowed: bool = True, none_means: int | None = None) -> Check:
    """A whole number from `minimum` (-1 stands for no limit); None stands for the default."""
    allowed = {-1: "-1 (no limit)", 0: "0", 1: ""}[minimum] + (", 0" if minimum < 0 and zero_is_allowed else "")
    allowed = f"{allowed} or a positive integer" if allowed else "a positive integer"

    def check(name: str, value: object) -> object:
        if value is None:
            return none_means
        if not isinstance(value, int):
            raise wrong_type(name, f"{allowed}, or None", value)
        number = int(value)
        if not minimum <= number <= _COUNT_MAX or (number == 0 and not zero_is_allowed):
            raise bad_value(name, allowed, value)
        return number

    return check


def text(*, empty_is_allowed: bool = True) -> Check:
    """A str or None."""

    def check(name: str, value: object) -> object:
        if value is not None and not isinstance(value, str):
            raise wrong_type(name, "a str or None", value)
        if value == "" and not empty_is_allowed:
            raise bad_value(name, "None or a non-empty str", value)
        return value

    return check


def one_of(*choices: str) -> Check:
    """One of these words, or None."""
    allowed = ", ".join(map(repr, choices)) + " or None"

    def check(name: str, value: object) -> object:
        if value is not None and not isinstance(value, str):
            raise wrong_type(name, allowed, value)
        if value is not None and value not in choices:
            raise bad_value(name, allowed, value)
        return value

    return check


def flag(*, none_is_allowed: bool) -> Check:
    """True or False; None where it stands for the default."""
    expected = "True, False or None" if none_is_allowed else "True or False"

    def check(name: str, value: object) -> object:
        if not isinstance(value, bool) and not (value is None and none_is_allowed):
            raise wrong_type(name, expected, value)
        return value

    return check


def quantity(name: str, value: object) -> object:
    """An amount of a resource, 0 or at least 0.0001, or None."""
    resource = {"num_cpus": "CPU", "num_gpus": "GPU"}.get(name, name)
    return None if value is None else _amount(name, resource, value)


def gpus(name: str, value: object) -> object:
    """As `quantity`; above 1 a GPU cannot be shared, so only whole numbers."""
    amount = quantity(name, value)
    if isinstance(amount, (int, float)) and amount > 1 and amount != int(amount):
        raise bad_value(name, "a fraction up to 1 or a whole number of GPUs", value)
    return amount


def whole_bytes(name: str, value: object) -> object:
    """A number of bytes, rounded down, or None."""
    return None if value is None else int(_amount(name, name, value))


def resources(name: str, value: object) -> object:
    """A dict of custom resource to amount, or None."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type(name, "a dict of resource name to amount, or None", value)
    checked: dict[str, float] = {}
    for resource, amount in value.items():
        if resource in _RESERVED_RESOURCES:
            raise ValueError(f"option {name} must not contain {resource!r}: {_RESERVED_RESOURCES[resource]}")
        checked[resource] = _amount(name, resource, amount)
    return checked


def text_labels(name: str, value: object) -> object:
    """A dict of str to str, or None. Not a node's labels: any text is allowed."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type(name, "a dict of str to str, or None", value)
    for key, label in value.items():
        if not isinstance(key, str) or not isinstance(label, str):
            raise bad_value(name, "a dict of str to str", value)
    return dict(value)


def exception_filter(*, none_is_allowed: bool) -> Check:
    """A bool, the exception classes to retry (kept as a tuple), or a function of the exception that says."""
    expected = "True, False, a list of exception classes, or a function that takes the exception"

    def check(name: str, value: object) -> object:
        if isinstance(value, (bool, Held)) or (value is None and none_is_allowed):
            return value
        if callable(value) and not isinstance(value, type):
            return hold(value)
        if not isinstance(value, (list, tuple)):
            raise wrong_type(name, expected, value)
        if not all(isinstance(one, type) and issubclass(one, Exception) for one in value):
            raise bad_value(name, expected, value)
        return tuple(value)

    return check


def seconds(name: str, value: object) -> object:
    """A time in seconds, 0 or more; None stands for the default."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong_type(name, "a number of seconds, or None", value)
    if not 0 <= value < float("inf"):
        raise bad_value(name, "0 or more seconds", value)
    return float(value)


def checkpoint_policy(name: str, value: object) -> object:
    """A CheckpointPolicy or None."""
    from linckia.model.checkpoints import CheckpointPolicy  # noqa: PLC0415  (start-up time of `import linckia`)

    if value is not None and not isinstance(value, CheckpointPolicy):
        raise wrong_type(name, "a linckia.CheckpointPolicy or None", value)
    return value


def any_value(_name: str, value: object) -> object:
    """Anything; it is told apart from other values by being the same object."""
    return value if isinstance(value, Held) else hold(value)


def returns(name: str, value: object) -> object:
    """How many refs a call gives: 0 or more, "streaming", "dynamic", or None for the default."""
    expected = '0 or a positive integer, "streaming", "dynamic" or None'
    if value is None or value in ("streaming", "dynamic"):
        return value
    if isinstance(value, str):
        raise bad_value(name, expected, value)
    return count(0)(name, value)


def concurrency_groups(name: str, value: object) -> object:
    """A dict of group name to how many calls it runs at a time, or None."""
    if not value and (value is None or isinstance(value, list)):
        return None
    if not isinstance(value, Mapping):
        raise wrong_type(name, "a dict of group name to limit, or None", value)
    for group, limit in value.items():
        if not isinstance(group, str) or not group:
            raise wrong_type(name, "a dict whose keys are group names (non-empty str)", group)
        count(1)(f"{name}[{group!r}]", limit)
        if limit is None:
            raise wrong_type(f"{name}[{group!r}]", "a positive integer", limit)
    return dict(value)


def no_object_store_memory(name: str, value: object) -> object:
    """Tasks cannot ask for object store memory."""
    if value is not None:
        raise ValueError(f"option {name} does not exist for tasks: the object store is shared; leave it out")
    return None


def no_tensor_transport(name: str, value: object) -> object:
    """There is no transport for tensors besides the object store yet."""
    if value is not None and not isinstance(value, str):
        raise wrong_type(name, "a str or None", value)
    if value is not None:
        raise bad_value(name, "None (no transport besides the object store is installed)", value)
    return None


def _amount(name: str, resource: str, value: object) -> float:
    # A bool is an int to Python, and `num_gpus=torch.cuda.is_available()` is a way to write 0 or 1.
    number: Any = int(value) if isinstance(value, bool) else value
    try:
        return ResourceSet.from_amounts({resource: number}).amount(resource)
    except OverflowError:
        raise bad_value(name, f"0 to {RESOURCE_AMOUNT_MAX:.0e}", value) from None
    except (TypeError, ValueError) as error:
        raise type(error)(f"option {name}: {error}") from None
