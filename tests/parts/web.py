"""A real HTTP server on loopback that answers as it is told, badly too."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Script = Callable[["Handler"], None]
"""Writes one answer, or something that is none."""


class Handler(BaseHTTPRequestHandler):
    """Serves one connection; what to answer comes from the server's scripts."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        """Answer a request with the next script; the last one stays."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        web = self.server.web
        with web.lock:
            web.seen.append(Seen(self.command, self.path, dict(self.headers.items()), body))
            script = web.scripts.pop(0) if len(web.scripts) > 1 else web.scripts[0]
        script(self)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - see do_GET

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def token(self) -> str | None:
        """The Authorization header."""
        return self.headers.get("Authorization")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    web: "Web"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hangs up on a bad answer does right."""


@dataclass
class Web:
    """The server; a context manager. ``scripts`` are played one a request, the last one for ever."""

    scripts: list[Script]
    seen: list[Seen] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.web = self
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def origin(self) -> str:
        """``http://127.0.0.1:{port}``."""
        return f"http://127.0.0.1:{self._server.server_port}"


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> Script:
    """Give a whole answer; ``Retry_After`` is the header Retry-After."""

    def script(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return script


def raw(data: bytes) -> Script:
    """Send just these bytes and close the connection."""

    def script(handler: Handler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return script
