"""How the state API reaches the cluster: through the runtime of a connected program, or straight to a node.

Without a runtime the newest cluster of this user on this machine is asked, or the one at ``address``. Returns the
merged part as it came; who is missing is `api.py`'s to say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linckia.base import errors
from linckia.host import environment, session, tokens
from linckia.model.listing import Filter, Part, decode_part
from linckia.protocol import messages as m
from linckia.rpc.ask import AskError, ask
from linckia.util.state.exception import RayStateApiException
from linckia.worker import current

SERVER_SHARE = 0.8
"""Of the caller's timeout: by then the cluster answers with what it has."""
ANSWER_GRACE_S = 5.0
OWN = (None, "", "auto", "local")


def collect(what: str, filters: list[Filter], limit: int, timeout: float, address: str | None) -> Part:
    """Ask the GCS. RayStateApiException when nobody answers, or the question is none."""
    query = m.StateQuery(1, what, filters, limit, timeout * SERVER_SHARE)
    try:
        answer = _asked(query, timeout, address)
        return decode_part(answer.body)
    except (AskError, LookupError, tokens.TokenError, errors.RayError, ValueError) as error:
        raise RayStateApiException(f"the state of the cluster cannot be had: {error}") from error


def _asked(query: m.StateQuery, timeout_s: float, address: str | None) -> Any:
    runtime = current.runtime
    if runtime is not None and address in OWN:
        query.rid = runtime.next_rid()
        return runtime.call(runtime.raylet, query, timeout_s + ANSWER_GRACE_S)
    endpoint, token = place_of(address)
    return ask(endpoint, token, query, timeout_s + ANSWER_GRACE_S)


def place_of(address: str | None) -> tuple[str, bytes]:
    """(endpoint, token) of a node of the cluster. LookupError when there is none."""
    if address not in OWN:
        assert address is not None
        host_port = address.removeprefix("http://").removeprefix("ray://").rstrip("/")
        return f"tcp:{host_port}", tokens.token_for(host_port).encode()
    for path, facts in reversed(session.live_sessions(environment.temporary_directory())):
        if facts.get("endpoint"):
            return str(facts["endpoint"]), Path(path, "token").read_bytes().strip()
    raise LookupError("no cluster of yours runs on this machine; call linckia.init(), or give address='HOST:PORT'")
