"""The way to an etcd cluster: endpoints, signing in, and the attempts that one request may need.

A request goes to the endpoint that answered last; when that fails the next one is asked, until the time is over. What
must not be done twice is sent only to an endpoint that has answered since its last failure, and is given up with
UnknownOutcomeError when its answer is lost. Callbacks run in gRPC's threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import msgspec

from linckia.base.limits import (
    ETCD_ATTEMPT_MAX_S,
    ETCD_KEEP_ALIVE_ATTEMPT_MAX_S,
    ETCD_WRITE_ATTEMPT_LEAST_S,
    ETCD_WRITE_PATIENCE,
)
from linckia.store.address import EtcdAddress
from linckia.store.errors import (
    InvalidRequestError,
    StoreAuthError,
    StoreClosedError,
    StoreError,
    StoreFullError,
    StoreOpenError,
    StoreUnavailableError,
    UnknownOutcomeError,
)
from linckia.store.etcd_verdicts import Verdict, judge
from linckia.store.etcd_wire import pb

PAUSE_S = 0.1
SIGN_INS_MAX = 3
CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 250),
)
METHODS = {
    # A stream that carries one request and one answer is a call like any other on the wire: so is LeaseKeepAlive here.
    "Range": ("/etcdserverpb.KV/Range", "RangeRequest", "RangeResponse"),
    "Txn": ("/etcdserverpb.KV/Txn", "TxnRequest", "TxnResponse"),
    "Compact": ("/etcdserverpb.KV/Compact", "CompactionRequest", "CompactionResponse"),
    "Grant": ("/etcdserverpb.Lease/LeaseGrant", "LeaseGrantRequest", "LeaseGrantResponse"),
    "Revoke": ("/etcdserverpb.Lease/LeaseRevoke", "LeaseRevokeRequest", "LeaseRevokeResponse"),
    "KeepAlive": ("/etcdserverpb.Lease/LeaseKeepAlive", "LeaseKeepAliveRequest", "LeaseKeepAliveResponse"),
    "TimeToLive": ("/etcdserverpb.Lease/LeaseTimeToLive", "LeaseTimeToLiveRequest", "LeaseTimeToLiveResponse"),
    "Status": ("/etcdserverpb.Maintenance/Status", "StatusRequest", "StatusResponse"),
    "Authenticate": ("/etcdserverpb.Auth/Authenticate", "AuthenticateRequest", "AuthenticateResponse"),
}
WATCH = "/etcdserverpb.Watch/Watch"


class VerdictError(StoreError):
    """A verdict that only the caller can explain, because it knows which revision or lease it asked for.

    ``earlier`` attempts of the same request may have been carried out before this one was refused.
    """

    def __init__(self, verdict: Verdict, details: str, earlier: int) -> None:
        super().__init__(details)
        self.verdict, self.earlier = verdict, earlier


class Endpoint:
    """One member of the cluster, and whether it answered the last time."""

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.target = target
        self.is_ready = False
        if credentials is None:
            self.channel = grpc.insecure_channel(target, CHANNEL_OPTIONS)
        else:
            self.channel = grpc.secure_channel(target, credentials, CHANNEL_OPTIONS)
        self.calls: dict[str, Any] = {
            name: self.channel.unary_unary(
                path, getattr(pb, request).SerializeToString, getattr(pb, response).FromString
            )
            for name, (path, request, response) in METHODS.items()
        }
        self.watch: Any = self.channel.stream_stream(
            WATCH, pb.WatchRequest.SerializeToString, pb.WatchResponse.FromString
        )


class Patience:
    """How long a write is waited for, by how long the last one took: a slow store is not asked twice for each."""

    def __init__(self, most_s: float) -> None:
        self._most_s = self.write_s = most_s

    def took(self, for_s: float, *, is_late: bool) -> None:
        """An answer came after ``for_s``, or none (``is_late``): then the next one has twice the time."""
        wanted_s = 2 * self.write_s if is_late else ETCD_WRITE_PATIENCE * for_s
        self.write_s = min(self._most_s, max(ETCD_WRITE_ATTEMPT_LEAST_S, wanted_s))


class EtcdLink:
    """One per store. Raises StoreOpenError for certificates that cannot be read."""

    def __init__(self, address: EtcdAddress, timeout_s: float) -> None:
        self.address, self.timeout_s = address, timeout_s
        self.closed = False
        self.token = ""
        self._password = _password(address)
        credentials = _credentials(address)
        self._endpoints = [Endpoint(target, credentials) for target in address.endpoints]
        self._place = 0
        self.patience = Patience(timeout_s)
        self._timers: dict[threading.Timer, None] = {}
        self._lock = threading.Lock()

    @property
    def signs_in(self) -> bool:
        """Whether requests need a token."""
        return bool(self.address.user)

    def current(self) -> Endpoint:
        """The endpoint to ask."""
        return self._endpoints[self._place]

    def failed(self, endpoint: Endpoint) -> None:
        """Ask another one from now on."""
        endpoint.is_ready = False
        with self._lock:
            if self._endpoints[self._place] is endpoint:
                self._place = (self._place + 1) % len(self._endpoints)

    def count(self) -> int:
        """Of endpoints."""
        return len(self._endpoints)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each request: a server without a leader shall refuse instead of waiting."""
        leader = ("hasleader", "true")
        return (leader, ("token", self.token)) if self.token else (leader,)

    def call(self, method: str, request: Any, done: Callable[[Any], None], *, repeatable: bool) -> None:
        """``done`` gets the response, or a StoreError (VerdictError where the caller knows more)."""
        _Call(self, method, request, done, repeatable=repeatable).start()

    def sign_in_request(self) -> Any:
        """Name and password."""
        return pb.AuthenticateRequest(name=self.address.user, password=self._password)

    def later(self, callback: Callable[[], None]) -> None:
        """After a short pause, in another thread; at once when the link is closed."""

        def run() -> None:
            with self._lock:
                self._timers.pop(timer, None)
            callback()

        timer = threading.Timer(PAUSE_S, run)
        timer.daemon = True
        with self._lock:
            if not self.closed:
                self._timers[timer] = None
                timer.start()
                return
        callback()

    def close(self) -> None:
        """All calls end."""
        with self._lock:
            self.closed = True
            timers = list(self._timers)
        for endpoint in self._endpoints:
            endpoint.channel.close()
        for timer in timers:
            timer.join(1.0)


class _Call:
    """A request until it has its answer."""

    def __init__(
        self, link: EtcdLink, method: str, request: Any, done: Callable[[Any], None], *, repeatable: bool
    ) -> None:
        self.link, self.method, self.request, self.done, self.repeatable = link, method, request, done, repeatable
        self.deadline_s = time.monotonic() + link.timeout_s
        self.attempts = self.sign_ins = 0
        self.sent_s = 0.0
        self.last = "no attempt was made in time"

    def start(self) -> None:
        """One attempt: signing in, knocking or the request itself."""
        left_s = self.deadline_s - time.monotonic()
        if self.link.closed:
            self.done(StoreClosedError("the store is closed"))
        elif left_s <= 0:
            where = ", ".join(self.link.address.endpoints)
            self.done(StoreUnavailableError(f"no etcd endpoint of {where} answered in time ({self.last}); try again"))
        else:
            endpoint = self.link.current()
            if self.link.signs_in and not self.link.token:
                self._send(endpoint, "Authenticate", self.link.sign_in_request(), left_s, self._on_signed_in)
            elif not self.repeatable and not endpoint.is_ready:
                self._send(endpoint, "Status", pb.StatusRequest(), left_s, self._on_knocked)
            else:
                self._send(endpoint, self.method, self.request, left_s, self._on_answer)

    def _send(
        self, endpoint: Endpoint, method: str, request: Any, left_s: float, then: Callable[[Endpoint, Any], None]
    ) -> None:
        is_final = method == self.method and not self.repeatable
        attempt_s = ETCD_KEEP_ALIVE_ATTEMPT_MAX_S if method == "KeepAlive" else ETCD_ATTEMPT_MAX_S
        timeout_s = min(left_s, self.link.patience.write_s if is_final else attempt_s)
        self.sent_s = time.monotonic()
        try:
            future = endpoint.calls[method].future(request, timeout=timeout_s, metadata=self.link.metadata())
        except ValueError:  # the channel was closed meanwhile
            self.done(StoreClosedError("the store is closed"))
            return
        future.add_done_callback(lambda ended: then(endpoint, ended))

    def _on_signed_in(self, endpoint: Endpoint, future: Any) -> None:
        self.sign_ins += 1
        if future.code() is grpc.StatusCode.OK:
            self.link.token = future.result().token
            self.start()
        elif future.code() is grpc.StatusCode.FAILED_PRECONDITION:  # this etcd asks nobody for a password
            self.link.address = _without_user(self.link.address)
            self.start()
        else:
            self._on_failure(endpoint, future, sent=False)

    def _on_knocked(self, endpoint: Endpoint, future: Any) -> None:
        if future.code() is grpc.StatusCode.OK:
            endpoint.is_ready = True
            self.start()
        else:
            self._on_failure(endpoint, future, sent=False)

    def _on_answer(self, endpoint: Endpoint, future: Any) -> None:
        if not self.repeatable:
            is_late = future.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            self.link.patience.took(time.monotonic() - self.sent_s, is_late=is_late)
        if future.code() is grpc.StatusCode.OK:
            endpoint.is_ready = True
            self.done(future.result())
        else:
            self._on_failure(endpoint, future, sent=True)

    def _on_failure(self, endpoint: Endpoint, future: Any, *, sent: bool) -> None:
        details = future.details() or future.code().name
        self.last = f"{endpoint.target}: {details}"
        self.attempts += 1
        verdict = judge(future.code().name, details)
        if verdict is Verdict.CLOSED and not self.link.closed:
            verdict = Verdict.UNKNOWN
        if verdict is Verdict.UNKNOWN and (self.repeatable or not sent):
            verdict = Verdict.ELSEWHERE
        match verdict:
            case Verdict.ELSEWHERE:
                self.link.failed(endpoint)
                if self.attempts % self.link.count() == 0:
                    self.link.later(self.start)
                else:
                    self.start()
            case Verdict.SIGN_IN if self.link.signs_in and self.sign_ins < SIGN_INS_MAX:
                self.link.token = ""
                self.start()
            case Verdict.SIGN_IN | Verdict.DENIED:
                who = f"user {self.link.address.user!r}" if self.link.signs_in else "a client without a user"
                self.done(StoreAuthError(f"etcd at {endpoint.target} refuses {who}: {details}; check --store"))
            case Verdict.UNKNOWN:
                self.link.failed(endpoint)
                self.done(
                    UnknownOutcomeError(
                        f"etcd at {endpoint.target} did not say whether it wrote ({details}): read before you go on"
                    )
                )
            case Verdict.CLOSED:
                unknown = sent and not self.repeatable
                self.done((UnknownOutcomeError if unknown else StoreClosedError)("the store was closed meanwhile"))
            case Verdict.FULL:
                self.done(StoreFullError(f"etcd at {endpoint.target} has no space: {details}; compact and defragment"))
            case Verdict.INVALID:
                self.done(InvalidRequestError(f"etcd at {endpoint.target} refuses the request: {details}"))
            case _:
                self.done(VerdictError(verdict, details, self.attempts - 1))


def _password(address: EtcdAddress) -> str:
    if not address.password_file:
        return address.password
    return _read(address.password_file).decode().strip()


def _credentials(address: EtcdAddress) -> grpc.ChannelCredentials | None:
    if not address.ca:
        return None
    cert, key = (_read(path) if path else None for path in (address.cert, address.key))
    return grpc.ssl_channel_credentials(_read(address.ca), key, cert)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise StoreOpenError(f"the store's file {path} cannot be read: {error.strerror}") from None


def _without_user(address: EtcdAddress) -> EtcdAddress:
    return msgspec.structs.replace(address, user="", password="", password_file="")
