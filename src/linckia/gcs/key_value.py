"""The GCS's internal key-value store: namespaces of keys. Everything in it lives, so nothing is ever evicted: what does
not fit its budget is refused, in a sentence. Built by gcs/service.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linckia.base.limits import KEY_VALUE_MAX_BYTES
from linckia.core.tables.budget import TableFacts
from linckia.gcs import records
from linckia.gcs.journal import Outbox
from linckia.protocol import messages as m

ENTRY_BYTES = 200
"""Of a key with its value, besides their own bytes."""


class KeyValueService:
    """``reply`` answers requests (Gcs.reply)."""

    def __init__(
        self, reply: Callable[[Any, m.Message], None], outbox: Outbox, budget_bytes: int = KEY_VALUE_MAX_BYTES
    ) -> None:
        self._reply, self._outbox, self.budget_bytes = reply, outbox, budget_bytes
        self._spaces: dict[str, dict[bytes, bytes]] = {}
        self.bytes = 0
        outbox.tables[records.KV] = self._row

    def handlers(self) -> dict[type[m.Message], Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {m.KvPut: self.on_put, m.KvGet: self.on_get, m.KvDel: self.on_del, m.KvKeys: self.on_keys}

    def restore(self, name: bytes, value: bytes) -> None:
        """A row as the last head wrote it."""
        self._set(*records.split_kv_key(name), value)

    def on_put(self, peer: Any, message: m.KvPut) -> None:
        """``count`` is 1 when the key is new."""
        space = self._spaces.get(message.namespace, {})
        is_new = message.key not in space
        if is_new or message.overwrite:
            old = 0 if is_new else _size(message.key, space[message.key])
            after = self.bytes - old + _size(message.key, message.value)
            if after > self.budget_bytes:
                self._refuse(peer, message, after)
                return
            self._set(message.namespace, message.key, message.value)
            self._outbox.touch(records.KV, records.kv_key(message.namespace, message.key))
        self._reply(peer, m.KvReply(message.rid, int(is_new)))

    def _refuse(self, peer: Any, message: m.KvPut, after_bytes: int) -> None:
        text = (
            f"the head's key-value store is full: with {len(message.value)} bytes for the key {message.key[:40]!r} of "
            f"{message.namespace!r} it would hold {after_bytes} bytes, and {self.budget_bytes} is its limit; delete "
            "keys that nobody needs, or put large values into the object store"
        )
        self._reply(peer, m.Failure(message.rid, "MemoryError", text))

    def on_get(self, peer: Any, message: m.KvGet) -> None:
        """``values`` is empty when there is none."""
        value = self._spaces.get(message.namespace, {}).get(message.key)
        self._reply(peer, m.KvReply(message.rid, int(value is not None), [] if value is None else [value]))

    def on_del(self, peer: Any, message: m.KvDel) -> None:
        """Delete a key, or all with a prefix."""
        space = self._spaces.get(message.namespace, {})
        doomed = [k for k in space if k.startswith(message.key)] if message.prefix else [message.key]
        count = 0
        for key in doomed:
            value = space.pop(key, None)
            if value is not None:
                count += 1
                self.bytes -= _size(key, value)
            self._outbox.touch(records.KV, records.kv_key(message.namespace, key))
        if not space:
            self._spaces.pop(message.namespace, None)
        self._reply(peer, m.KvReply(message.rid, count))

    def on_keys(self, peer: Any, message: m.KvKeys) -> None:
        """Keys with a prefix."""
        keys = sorted(key for key in self._spaces.get(message.namespace, {}) if key.startswith(message.prefix))
        self._reply(peer, m.KvReply(message.rid, len(keys), keys))

    def facts(self) -> TableFacts:
        """For `linckia status -v`."""
        live = sum(map(len, self._spaces.values()))
        return TableFacts(
            "key_values", live, 0, self.bytes, self.budget_bytes, 0, 0, "nothing: what does not fit is refused"
        )

    def _set(self, namespace: str, key: bytes, value: bytes) -> None:
        space = self._spaces.setdefault(namespace, {})
        old = space.get(key)
        self.bytes += _size(key, value) - (0 if old is None else _size(key, old))
        space[key] = value

    def _row(self, name: bytes) -> bytes | None:
        namespace, key = records.split_kv_key(name)
        return self._spaces.get(namespace, {}).get(key)


def _size(key: bytes, value: bytes) -> int:
    return ENTRY_BYTES + len(key) + len(value)
