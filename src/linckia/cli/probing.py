"""`linckia health-check`: does a node answer? Small on purpose: it is run again and again by whoever supervises nodes.

Called by cli/main.py and, without the rest of the command line, by cli/entry.py.
"""

from __future__ import annotations

import sys

from linckia.host import environment, session, tokens
from linckia.protocol.messages import Ping
from linckia.rpc.ask import AskError, ask

TIMEOUT_S = 5.0


def health_check(address: str) -> int:
    """0: it answers. 1: it does not, and why on standard error. Without an address: the newest node of this user."""
    try:
        endpoint, token = _where(address)
        ask(endpoint, token.encode(), Ping(1), TIMEOUT_S)
    except (AskError, tokens.TokenError, LookupError, ValueError) as error:
        sys.stderr.write(f"linckia: {error}\n")
        return 1
    return 0


def _where(address: str) -> tuple[str, str]:
    if address:
        return f"tcp:{address}", tokens.token_for(address)
    for path, facts in reversed(session.live_sessions(environment.temporary_directory())):
        endpoint = facts.get("endpoint")
        if endpoint:
            with open(f"{path}/token", encoding="ascii") as file:
                return str(endpoint), file.read().strip()
    raise LookupError("no node of yours runs on this machine; `linckia start --head` starts one")
