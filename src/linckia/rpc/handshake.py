"""Who is there? Mutual proof of the cluster token before a single message is decoded, as a sans-I/O state machine.

Three frames: the initiator's *hello* (magic, versions, role, id, nonce), the acceptor's *challenge* (versions, id,
nonce, its proof), the initiator's *proof*. A proof is keyed BLAKE2b over both nonces and the prover's side, the key is
the token's hash, compared in constant time, so a recording proves nothing. Over TLS a proof is also bound to the
server's certificate, so that nobody in between can pass it on. Frames are plain msgpack maps of at most
``HANDSHAKE_FRAME_MAX_BYTES``; nothing is unpickled here, ever. Called by ``rpc/connection.py``; does no I/O and mints
no nonce itself.
"""

from __future__ import annotations

import sys
from _operator import _compare_digest as compare_digest  # what hmac.compare_digest is
from enum import Enum
from typing import Any

import msgspec

from linckia.protocol.batch import MALFORMED
from linckia.protocol.messages import PROTOCOL_VERSION

try:
    from _blake2 import blake2b  # what hashlib.blake2b is; importing hashlib or hmac loads OpenSSL: 5 ms and 2 MB
except ImportError:  # an interpreter built without it
    from hashlib import blake2b

HANDSHAKE_FRAME_MAX_BYTES = 4096
MAGIC = "linckia"
_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


class HandshakeError(Exception):
    """The peer may not talk to us; the text is the one-sentence refusal that both sides log."""


class Stage(Enum):
    """Where a handshake stands."""

    START = "start"
    WAIT_HELLO = "wait_hello"
    WAIT_CHALLENGE = "wait_challenge"
    WAIT_PROOF = "wait_proof"
    DONE = "done"


class Identity(msgspec.Struct, frozen=True):
    """What one side says of itself. ``role``: driver | worker | raylet | gcs | cli."""

    role: str
    worker_id: bytes
    token: bytes
    python: tuple[int, int] = (sys.version_info[0], sys.version_info[1])
    protocol: int = PROTOCOL_VERSION


class Handshake:
    """One side of one connection. Feed frames with :meth:`receive`; it returns the frame to send back, or None."""

    def __init__(self, identity: Identity, nonce: bytes, *, initiator: bool) -> None:
        self.identity = identity
        self.nonce = nonce
        self.initiator = initiator
        self.expected_id = b""  # over TLS, where it is known who has to answer; else whoever has the token
        self.binding = b""  # over TLS: the server's certificate, as this side knows it
        self.stage = Stage.START if initiator else Stage.WAIT_HELLO
        self.peer_role = ""
        self.peer_id = b""
        self.peer_nonce = b""

    @property
    def done(self) -> bool:
        """True when both sides have proven the token."""
        return self.stage is Stage.DONE

    def hello(self) -> bytes:
        """The initiator's first frame."""
        self.stage = Stage.WAIT_CHALLENGE
        return _encode({**self._about_me(), "magic": MAGIC})

    def receive(self, frame: bytes | memoryview) -> bytes | None:
        """Take one frame, return the answer to send if any. Raises HandshakeError with the sentence to log."""
        if len(frame) > HANDSHAKE_FRAME_MAX_BYTES:
            raise HandshakeError(
                f"refused: a handshake frame has {len(frame)} bytes, {HANDSHAKE_FRAME_MAX_BYTES} allowed"
            )
        try:
            body = _decode(frame)
        except MALFORMED as error:
            raise HandshakeError("refused: the peer does not speak Linckia's protocol") from error
        if "refused" in body:
            raise HandshakeError(str(body["refused"]))
        match self.stage:
            case Stage.WAIT_HELLO:
                return self._on_hello(body)
            case Stage.WAIT_CHALLENGE:
                return self._on_challenge(body)
            case Stage.WAIT_PROOF:
                self._check_proof(body, b"initiator")
                self.stage = Stage.DONE
                return None
            case _:
                raise HandshakeError(f"refused: unexpected handshake frame in stage {self.stage.value}")

    def _about_me(self) -> dict[str, Any]:
        me = self.identity
        return {
            "protocol": me.protocol,
            "python": list(me.python),
            "role": me.role,
            "id": me.worker_id,
            "nonce": self.nonce,
        }

    def _on_hello(self, body: dict[str, Any]) -> bytes:
        if body.get("magic") != MAGIC:
            raise HandshakeError("refused: the peer does not speak Linckia's protocol")
        self._take_peer(body)
        self.stage = Stage.WAIT_PROOF
        return _encode({**self._about_me(), "proof": self._proof(b"acceptor")})

    def _on_challenge(self, body: dict[str, Any]) -> bytes:
        self._take_peer(body)
        self._check_proof(body, b"acceptor")
        if self.expected_id not in (b"", self.peer_id):
            raise HandshakeError(
                f"refused: process {self.peer_id.hex()[:8]} answers where {self.expected_id.hex()[:8]} was asked for"
            )
        self.stage = Stage.DONE
        return _encode({"proof": self._proof(b"initiator")})

    def _take_peer(self, body: dict[str, Any]) -> None:
        protocol, python = body.get("protocol"), body.get("python")
        if protocol != self.identity.protocol:
            raise HandshakeError(
                f"refused: peer speaks protocol {protocol}, this process {self.identity.protocol}; "
                "install the same Linckia version on both sides"
            )
        if python != list(self.identity.python):
            theirs = ".".join(map(str, python)) if isinstance(python, list) else python
            ours = ".".join(map(str, self.identity.python))
            raise HandshakeError(
                f"refused: peer runs Python {theirs}, this process {ours}; "
                "functions are pickled bytecode, use the same minor version"
            )
        nonce, role, worker_id = body.get("nonce"), body.get("role"), body.get("id")
        if not isinstance(role, str) or not isinstance(worker_id, bytes):
            raise HandshakeError("refused: malformed handshake")
        if not isinstance(nonce, bytes) or len(nonce) < 16:
            raise HandshakeError("refused: malformed handshake")
        self.peer_nonce, self.peer_role, self.peer_id = nonce, role, worker_id

    def _proof(self, side: bytes) -> bytes:
        first, second = (self.nonce, self.peer_nonce) if self.initiator else (self.peer_nonce, self.nonce)
        key = blake2b(self.identity.token, digest_size=32).digest()
        return blake2b(side + first + second + self.binding, key=key, digest_size=32).digest()

    def _check_proof(self, body: dict[str, Any], side: bytes) -> None:
        proof = body.get("proof")
        if not isinstance(proof, bytes) or not compare_digest(proof, self._proof(side)):
            doubt = " (or somebody between the two ends TLS)" if self.binding else ""
            raise HandshakeError(
                f"refused: wrong cluster token{doubt}; "
                "set LINCKIA_AUTH_TOKEN or LINCKIA_AUTH_TOKEN_PATH to this cluster's token"
            )


def refusal(reason: str) -> bytes:
    """The frame that tells a peer in one sentence why it is refused."""
    return _encode({"refused": reason[:1000]})
