"""A small threaded HTTP/1.1 server, with or without TLS: sockets in, `Request` to a handler, `Answer` out."""

import contextlib
import gzip
import logging
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

log = logging.getLogger(__name__)

_IDLE_SECONDS = 60
_LOOK_SECONDS = 0.01  # how often a server looks whether it is to end
_COMPRESS_FROM = 1_000


@dataclass(frozen=True)
class Request:
    """One request. `headers` are looked up without regard to case; `base` is the origin that was asked."""

    method: str
    target: str
    headers: Message
    body: bytes
    base: str

    @property
    def path(self) -> str:
        """The path, still percent-encoded, without the query string."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The query string's options, decoded; of an option given twice, the last."""
        pairs = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        return {name: values[-1] for name, values in pairs.items()}


@dataclass(frozen=True)
class Answer:
    """One answer. `cut` drops the connection: 0 before the first byte, any other number within the body.

    A body is compressed where the client takes that, unless a header `Content-Encoding` says that it is.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass(frozen=True)
class Seen:
    """One request that was served: `path` with its query string, `time` in Unix seconds at its arrival.

    `headers` have lower-case names; of credentials only the scheme is kept. `status` is 0 for a dropped
    connection.
    """

    api: str
    method: str
    path: str
    status: int
    body: str
    time: float
    headers: dict[str, str]


def json_answer(status: int, document: Any, **headers: str) -> Answer:
    """An answer with a JSON body; header names are given with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(
        status, msgspec.json.encode(document), {"Content-Type": "application/json; charset=utf-8", **named}
    )


Handler = Callable[[Request], Answer]


class Server:
    """Serves `handle` on a loopback port from a thread of its own until it is closed.

    `date_offset` (seconds) is added to the time in every answer's Date header.
    """

    def __init__(
        self, handle: Handler, port: int, tls: ssl.SSLContext | None, date_offset: float = 0.0
    ) -> None:
        scheme = "http" if tls is None else "https"
        self._listener = _Listener(("127.0.0.1", port), handle, scheme, tls, date_offset)
        self.port: int = self._listener.server_address[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        serve = self._listener.serve_forever
        self._thread = threading.Thread(target=serve, args=(_LOOK_SECONDS,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and drop every connection."""
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()
        self._listener.drop_connections()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # on Windows it would let two servers have one port
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        handle: Handler,
        scheme: str,
        tls: ssl.SSLContext | None,
        date_offset: float,
    ) -> None:
        self.handle_ = handle
        self.scheme = scheme
        self.date_offset = date_offset
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Connection)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the connection's own thread, so that a slow handshake holds up nobody else.
        request.settimeout(_IDLE_SECONDS)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured = request if self._tls is None else self._tls.wrap_socket(request, server_side=True)
        with self._lock:
            self._open.add(secured)
        try:
            super().finish_request(secured, client_address)
        finally:
            with self._lock:
                self._open.discard(secured)
            with contextlib.suppress(OSError):
                secured.shutdown(socket.SHUT_RDWR)
            secured.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is a mistake here."""
        del request, client_address
        log.debug("a connection ended early: %s", sys.exception())

    def drop_connections(self) -> None:
        with self._lock:
            left = list(self._open)
        for each in left:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline:
            self.close_connection = True
        elif self.parse_request():
            self._serve()

    def _serve(self) -> None:
        base = f"{self.server.scheme}://{self.headers.get('Host', '127.0.0.1')}"
        request = Request(self.command, self.path, self.headers, self._read_body(), base)
        try:
            answer = self.server.handle_(request)
        except Exception:  # the client must see that the stand-in broke, whatever broke in it
            log.exception("the stand-in failed on %s %s", self.command, self.path)
            answer = json_answer(
                500, {"error": {"code": "StandInFailure", "message": "see the stand-in's log"}}
            )
        if answer.cut == 0:
            self.close_connection = True
            return
        self._send(answer)

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, answer: Answer) -> None:
        body, headers = answer.body, dict(answer.headers)
        wanted = "gzip" in self.headers.get("Accept-Encoding", "").lower()
        if wanted and len(body) >= _COMPRESS_FROM and "Content-Encoding" not in headers:
            body = gzip.compress(body, 1, mtime=0)
            headers["Content-Encoding"] = "gzip"
            headers["Vary"] = "Accept-Encoding"
        self.send_response_only(answer.status)
        self.send_header("Date", self.date_time_string(int(time.time() + self.server.date_offset)))
        for name, value in headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if answer.cut is not None:
            body = body[: len(body) // 2]
            self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()
