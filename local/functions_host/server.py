"""The HTTP side of the host: reads requests, finds their function, writes answers. Loopback only."""

from __future__ import annotations

import logging
import os
import socket
import socketserver
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from local.functions_host.activity import Activity
from local.functions_host.settings import HostError

logger = logging.getLogger("local.functions_host")

BODY_LIMIT = 104_857_600
"""Bytes; the largest request body on Azure ("Azure Functions HTTP trigger", Limits)."""

IDLE_SECONDS = 120.0
"""A kept connection is closed after so long without a request."""

_HOST_WRITES = {"content-length", "transfer-encoding", "connection", "date", "server"}


@dataclass(frozen=True)
class Request:
    """One request, its body complete; `target` is path and query as sent, names of headers are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Response:
    """One answer; a header may occur more than once."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


Answer = Callable[[Request], Response]


class Server(ThreadingHTTPServer):
    """Accepts connections on 127.0.0.1 as soon as it exists, and serves them once `serve_forever` runs."""

    daemon_threads = True
    request_queue_size = 128
    # On Windows this option would let two programs share the port.
    allow_reuse_address = os.name != "nt"

    def __init__(self, port: int, answer: Answer, activity: Activity) -> None:
        """Bind `port`, or a free one for 0; raises `HostError` where it is taken."""
        self.answer = answer
        self.activity = activity
        self.stopping = False
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise HostError(
                f"Port {port} is not available ({error.strerror}): end the program that listens on it, "
                "or choose another one with --port."
            ) from error

    def server_bind(self) -> None:
        """Bind without the name look-up of the base class, which may take seconds."""
        if exclusive := getattr(socket, "SO_EXCLUSIVEADDRUSE", None):
            self.socket.setsockopt(socket.SOL_SOCKET, exclusive, 1)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - overrides
        """Leave the console to the functions; clients may go away."""
        logger.debug("A connection from %s broke: %s", client_address, sys.exc_info()[1])


class _BadRequestError(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    # Small answers leave in one packet, and at once.
    wbufsize = -1
    disable_nagle_algorithm = True

    def version_string(self) -> str:
        return "local-functions-host"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - overrides
        """Leave the console to the functions."""

    def _serve(self) -> None:
        with self.server.activity():
            self._write(self._answer())

    def _answer(self) -> Response:
        try:
            return self.server.answer(Request(self.command, self.path, self._headers(), self._body()))
        except _BadRequestError as error:
            self.close_connection = True
            return Response(error.status, (("Content-Type", "text/plain"),), str(error).encode())
        except ConnectionError:
            raise
        except Exception:
            logger.exception("The answer to %s %s could not be made", self.command, self.path)
            return Response(500)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_QUERY = _serve  # noqa: N815

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            key = name.lower()
            headers[key] = f"{headers[key]},{value}" if key in headers else value
        return headers

    def _body(self) -> bytes:
        coding = self.headers.get("Transfer-Encoding", "").lower()
        if coding == "chunked":
            return self._chunks()
        length = self.headers.get("Content-Length", "0")
        if coding or not (length.isascii() and length.isdecimal()):
            raise _BadRequestError(400, "The length of the body is not given in a way that HTTP/1.1 knows.")
        return self._read(self._within_limit(int(length)))

    def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            try:
                size = int(self.rfile.readline(1024).split(b";")[0], 16)
            except ValueError:
                raise _BadRequestError(400, "A chunk of the body has no valid size.") from None
            if size <= 0:
                break
            self._within_limit(len(body) + size)
            body += self._read(size)
            self.rfile.readline(3)
        while self.rfile.readline(65536).strip():
            pass  # trailers
        return bytes(body)

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise _BadRequestError(400, "The connection ended in the middle of the body.")
        return data

    @staticmethod
    def _within_limit(size: int) -> int:
        if size > BODY_LIMIT:
            raise _BadRequestError(413, f"The body is longer than {BODY_LIMIT} bytes.")
        return size

    def _write(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers:
            if name.lower() not in _HOST_WRITES:
                self.send_header(name, value)
        has_body = response.status >= 200 and response.status not in {204, 304}
        if has_body:
            self.send_header("Content-Length", str(len(response.body)))
        if self.server.stopping or self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if has_body and self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()
