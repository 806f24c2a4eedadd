"""Whether a head may use the records it finds: those of its own cluster, of a version it knows."""

from __future__ import annotations

import hashlib

from linckia.gcs.records import FORMAT_VERSION, MetaRow
from linckia.gcs.restoring import read_meta
from linckia.node.head_options import HeadOptions


class AnotherClusterError(LookupError):
    """The store belongs to a cluster with another token."""


def token_mark(token: str) -> str:
    """Tells one token from another and shows nothing of it: 256 random bits cannot be guessed from a digest."""
    return hashlib.blake2b(token.encode(), digest_size=8, person=b"linckia token").hexdigest()


def admit(records: dict[bytes, bytes], options: HeadOptions) -> MetaRow:
    """What the records say of the cluster; for an empty store what this head makes of it. Nothing is written.

    AnotherClusterError, NewerRecordsError.
    """
    found = read_meta(records)
    mark = token_mark(options.token)
    if found is None:
        return MetaRow(FORMAT_VERSION, options.session_name, mark)
    if found.token_mark and found.token_mark != mark:
        raise AnotherClusterError(
            f"the store belongs to the cluster {found.session_name!r}, which has another token: give this head that "
            "one (`linckia get-auth-token` where the cluster runs, then LINCKIA_AUTH_TOKEN here), or another store"
        )
    return found
