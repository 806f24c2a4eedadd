"""A watch of etcd that outlives connections: a thread reads the stream, and opens it anew where it was interrupted.

It asks for one revision before the first that is wanted: etcd then refuses exactly when the state before the first
event is compacted, which is our rule for all backends. A silent server is pinged; one that does not answer is left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc

from linckia.base.limits import ETCD_WATCH_PING_S
from linckia.core.mvcc.records import WatchBatch, WatchQuery
from linckia.store.errors import CompactedError, StoreAuthError, StoreError, StoreUnavailableError
from linckia.store.etcd_link import Endpoint, EtcdLink
from linckia.store.etcd_verdicts import Verdict, judge
from linckia.store.etcd_wire import EVERYTHING, Wire, pb
from linckia.store.interface import OnBatch
from linckia.store.local import Deliveries

PINGS_MISSED_MAX = 3
RETRY_PAUSE_S = 0.1
JOIN_MAX_S = 5.0
OVER = frozenset({Verdict.DENIED, Verdict.INVALID})


class EtcdWatch:
    """A ``Watch``."""

    def __init__(
        self,
        link: EtcdLink,
        wire: Wire,
        query: WatchQuery,
        on_batch: OnBatch,
        deliveries: Deliveries,
        forget: Callable[[EtcdWatch], None],
    ) -> None:
        self._link, self._wire, self._query, self._deliveries, self._forget = link, wire, query, deliveries, forget
        self._on_batch: OnBatch | None = on_batch
        self._next = query.from_revision
        self._over = threading.Event()
        self._stream: _Stream | None = None
        self._thread = threading.Thread(target=self._run, name="store-etcd-watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def tell(self, batch: WatchBatch | StoreError) -> None:
        """Unless it was cancelled meanwhile. In the user's thread."""
        if self._on_batch is not None:
            self._on_batch(batch)

    def cancel(self) -> None:
        """See ``Watch``."""
        self._on_batch = None
        self._end()
        self._forget(self)

    def close(self, error: StoreError) -> None:
        """The store closes: the watch is told, and its thread ends."""
        self._deliveries.send([partial(self.tell, error)])
        self._end()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(JOIN_MAX_S)

    def _end(self) -> None:
        self._over.set()
        stream = self._stream
        if stream is not None:
            stream.cancel()

    # --- the watch's thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._over.is_set() and not self._link.closed:
            try:
                if self._next is None or (self._link.signs_in and not self._link.token):
                    self._find_present()
                else:
                    self._follow(self._link.current(), self._next)
            except (StoreUnavailableError, grpc.RpcError, ValueError):  # ValueError: the channel was closed
                self._over.wait(RETRY_PAUSE_S)
            except StoreError as error:
                if not self._link.closed:
                    self._deliveries.send([partial(self.tell, error)])
                break
        self._forget(self)

    def _find_present(self) -> None:
        """A read through the leader; it signs in too."""
        response = _wait_for(self._link, "Range", pb.RangeRequest(key=self._wire.namespace or EVERYTHING, limit=1))
        if self._next is None:
            self._next = response.header.revision + 1

    def _follow(self, endpoint: Endpoint, first: int) -> None:
        """Tell what one stream says, until it ends."""
        stream = _Stream(self._link, endpoint, self._wire.watch(self._query, max(1, first - 1)))
        self._stream = stream
        if self._over.is_set():  # cancelled before it could know the stream
            stream.cancel()
        try:
            for response in stream.responses():
                if response.canceled:
                    self._refused(response, first)
                    return
                self._tell_events(response)
        except grpc.RpcError as error:
            if not self._over.is_set():
                self._link.failed(endpoint)
                self._judge(error)
        finally:
            stream.cancel()

    def _tell_events(self, response: Any) -> None:
        first = self._next or 0
        events = self._wire.events(response, first, with_previous=self._query.with_previous)
        if events:
            revision = events[-1].kv.mod_revision
            self._next = revision + 1
            self._deliveries.send([partial(self.tell, WatchBatch(revision, events))])

    def _refused(self, response: Any, first: int) -> None:
        if response.compact_revision:
            raise CompactedError(first, response.compact_revision)
        if "permission denied" in response.cancel_reason:
            raise StoreAuthError(f"etcd refuses the watch: {response.cancel_reason}; check the user's rights")
        if "token" in response.cancel_reason:
            self._link.token = ""
        raise StoreUnavailableError(response.cancel_reason)

    def _judge(self, error: Any) -> None:
        verdict = judge(error.code().name, error.details() or "")
        if verdict is Verdict.SIGN_IN:
            self._link.token = ""
        elif verdict in OVER:
            raise StoreAuthError(f"etcd refuses the watch: {error.details()}; check --store") from None
        raise error


class _Stream:
    """One stream with one watch, and its pings."""

    def __init__(self, link: EtcdLink, endpoint: Endpoint, create: Any) -> None:
        self._create = create
        self._ended = threading.Event()
        self._heard_s = time.monotonic()
        self._call: Any = endpoint.watch(self._requests(), metadata=link.metadata())

    def responses(self) -> Iterator[Any]:
        """What the server says."""
        for response in self._call:
            self._heard_s = time.monotonic()
            yield response

    def cancel(self) -> None:
        """Idempotent."""
        self._ended.set()
        self._call.cancel()

    def _requests(self) -> Iterator[Any]:
        yield self._create
        while not self._ended.wait(ETCD_WATCH_PING_S):
            if time.monotonic() - self._heard_s > PINGS_MISSED_MAX * ETCD_WATCH_PING_S:
                self._call.cancel()
                return
            yield pb.WatchRequest(progress_request=pb.WatchProgressRequest())


def compacted_revision(link: EtcdLink, key: bytes, asked: int, then: Callable[[int], None]) -> None:
    """Up to which revision the history is compacted: only a watch is told. In a short-lived thread; 0 if unknown."""

    def look() -> None:
        found = 0
        stream = None
        try:
            create = pb.WatchCreateRequest(key=key, start_revision=max(1, asked))
            stream = _Stream(link, link.current(), pb.WatchRequest(create_request=create))
            for response in stream.responses():
                if response.canceled or response.events:
                    found = response.compact_revision
                    break
        except (grpc.RpcError, ValueError):
            pass
        finally:
            if stream is not None:
                stream.cancel()
        then(found)

    threading.Thread(target=look, name="store-etcd-compacted", daemon=True).start()


def _wait_for(link: EtcdLink, method: str, request: Any) -> Any:
    answers: list[Any] = []
    answered = threading.Event()

    def done(answer: Any) -> None:
        answers.append(answer)
        answered.set()

    link.call(method, request, done, repeatable=True)
    answered.wait()
    if isinstance(answers[0], StoreError):
        raise answers[0]
    return answers[0]
