"""What is said on a stream: a request names ticket, start and length; the answer is a head and that many raw bytes.

A stream is a socket that has left the message protocol (`OpenStream`); both sides use it from threads, blocking, with
the kernel's own timeouts. Requests may be sent ahead of answers. Nothing is decoded here but three numbers. With TLS
(rpc/tls) timeouts are Python's, and bytes of files pass through this process instead of from file to socket.
"""

from __future__ import annotations

import os
import socket
import struct

REQUEST = struct.Struct("<QQQ")  # ticket, start, length
ANSWER = struct.Struct("<BQ")  # OK and the length, or FAILED and the length of a text
OK, FAILED = 0, 1
STALL_S = 10.0
TEXT_MAX_BYTES = 4096


class StreamError(OSError):
    """The other side said no, hung up, or has been silent for too long."""


def set_timeouts(sock: socket.socket, receive_s: float) -> None:
    """Blocking calls end with an error after ``receive_s`` (STALL_S for sending) without progress."""
    if _has_tls(sock):
        sock.settimeout(max(receive_s, STALL_S))
        return
    sock.setblocking(True)
    for option, seconds in ((socket.SO_RCVTIMEO, receive_s), (socket.SO_SNDTIMEO, STALL_S)):
        whole = int(seconds)
        sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", whole, int((seconds - whole) * 1e6)))


def receive_into(sock: socket.socket, view: memoryview) -> None:
    """Fill ``view``."""
    position, size = 0, len(view)
    while position < size:
        try:
            count = sock.recv_into(view[position:], size - position, socket.MSG_WAITALL)
        except (BlockingIOError, TimeoutError) as error:
            raise StreamError(f"no byte came for {STALL_S:g} s") from error
        if not count:
            raise StreamError("the other side hung up")
        position += count


def receive_struct(sock: socket.socket, form: struct.Struct) -> tuple[int, ...]:
    """One head."""
    head = bytearray(form.size)
    receive_into(sock, memoryview(head))
    return form.unpack(head)


def receive_answer(sock: socket.socket, view: memoryview) -> None:
    """The bytes that were asked for. StreamError carries the other side's words."""
    kind, length = receive_struct(sock, ANSWER)
    if kind == OK and length == len(view):
        receive_into(sock, view)
        return
    text = bytearray(min(length, TEXT_MAX_BYTES))
    if kind == FAILED:
        receive_into(sock, memoryview(text))
    raise StreamError(text.decode(errors="replace") or f"an answer of {length} bytes came, {len(view)} were asked for")


def send_memory(sock: socket.socket, view: memoryview) -> None:
    """An answer out of memory. Copying it costs less than it saves: the reader then copies what is in a cache, not
    pages from all over the machine (0.24 s of its time per GB, 0.4 s of what ``sendfile`` sent).
    """
    sock.sendall(ANSWER.pack(OK, len(view)), socket.MSG_MORE)
    try:
        sock.sendall(view)
    except (BlockingIOError, TimeoutError) as error:
        raise StreamError(f"the reader took no byte for {STALL_S:g} s") from error


def send_file(sock: socket.socket, fd: int, offset: int, length: int) -> None:
    """An answer out of a file, without a copy in this process unless it has to be encrypted."""
    sock.sendall(ANSWER.pack(OK, length), socket.MSG_MORE)
    if _has_tls(sock):
        sock.send_file(fd, offset, length)  # type: ignore[attr-defined]  # rpc/tls/secure_socket.py
        return
    end = offset + length
    while offset < end:
        try:
            count = os.sendfile(sock.fileno(), fd, offset, end - offset)
        except BlockingIOError as error:
            raise StreamError(f"the reader took no byte for {STALL_S:g} s") from error
        if not count:
            raise StreamError("the file is shorter than the object")
        offset += count


def send_refusal(sock: socket.socket, text: str) -> None:
    """An answer without bytes."""
    data = text.encode()[:TEXT_MAX_BYTES]
    sock.sendall(ANSWER.pack(FAILED, len(data)) + data)


def _has_tls(sock: socket.socket) -> bool:
    return type(sock) is not socket.socket
