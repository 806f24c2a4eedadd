"""`StateApiClient`: the state API as an object, as in Ray. The functions of `api.py` say the same in fewer words."""

from __future__ import annotations

from typing import Any

from linckia.core.listing.records import DEFAULT_LIMIT, DEFAULT_RPC_TIMEOUT, StateSchema
from linckia.util.state import api


class StateApiClient:
    """Remembers the address. Resources are named as on the command line: ``tasks``, ``placement-groups``..."""

    def __init__(self, address: str | None = None, cookies: Any = None, headers: Any = None) -> None:
        del cookies, headers  # of Ray's HTTP server
        self._address = address

    def get_address(self) -> str | None:
        """As given."""
        return self._address

    def list(
        self, resource: Any, options: Any = None, raise_on_missing_output: bool = True, _explain: bool = False
    ) -> list[StateSchema]:
        """Records; ``options`` may have filters, limit, timeout and detail."""
        asked = api.Question(
            self._address,
            getattr(options, "filters", None),
            getattr(options, "limit", DEFAULT_LIMIT),
            getattr(options, "timeout", DEFAULT_RPC_TIMEOUT),
            getattr(options, "detail", False),
            raise_on_missing_output,
        )
        return asked.records(_name(resource))

    def get(self, resource: Any, id: str, options: Any = None, _explain: bool = False) -> Any:
        """One record, or None; of tasks and objects all with the id."""
        timeout = getattr(options, "timeout", DEFAULT_RPC_TIMEOUT)
        found = api.records_of(_name(resource), id, self._address, timeout)
        if _name(resource) in ("tasks", "objects"):
            return found
        return found[0] if found else None

    def summary(
        self, resource: Any, *, options: Any = None, raise_on_missing_output: bool = True, _explain: bool = False
    ) -> dict[str, Any]:
        """Of tasks, actors or objects."""
        timeout = getattr(options, "timeout", DEFAULT_RPC_TIMEOUT)
        function = getattr(api, f"summarize_{_name(resource)}")
        answer: dict[str, Any] = function(self._address, timeout, raise_on_missing_output)
        return answer


def _name(resource: Any) -> str:
    return str(getattr(resource, "value", resource)).replace("_", "-")
