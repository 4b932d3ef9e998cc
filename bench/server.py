"""A server of canned answers, in a process of its own: `python -m bench.server`.

Unlike the stand-in cloud it makes no rows and runs no KQL, so that a client is measured and not its server.
It answers the query API's path with as many rows as the asked time holds at a steady rate, and issues the
tokens that are asked for; each over TLS, each after ``--latency`` seconds.
"""

import argparse
import functools
import re
import signal
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue

import msgspec
from isal import igzip

from bench.answers import Answers, numbers
from local.cloud.entra_id import EntraId
from local.cloud.identity import Identity, certificates
from local.cloud.server import Answer, Request, Server, json_answer
from local.cloud.tokens import Tokens
from shared.windows import HOUR, parse_instant

_BOUNDS = re.compile(r"let window_start = datetime\((\S+)\);\s*let window_end = datetime\((\S+)\);")
_JSON = {"Content-Type": "application/json; charset=utf-8"}


class _Query(msgspec.Struct):
    query: str
    timespan: str | None = None


class Canned:
    """Answers queries with ``rows_per_hour`` rows for an hour, after ``latency`` seconds."""

    def __init__(self, rows_per_hour: int, latency: float, *, half_pair: bool = False) -> None:
        self._rows_per_hour = rows_per_hour
        self._latency = latency
        self._answers = Answers(rows_per_hour, half_pair=half_pair)
        self.compressed = functools.lru_cache(4)(self._compressed)

    def answer(self, body: bytes) -> Answer:
        """Answer one question, from whatever client it comes."""
        time.sleep(self._latency)
        question = msgspec.json.decode(body, type=_Query)
        rows = self._rows_of(question)
        if "| summarize " in question.query:
            return Answer(200, numbers(rows), _JSON)
        return Answer(200, self.compressed(rows), {**_JSON, "Content-Encoding": "gzip"})

    def _rows_of(self, question: _Query) -> int:
        """Return how many rows lie in the time of a question: that of its query, else of its timespan."""
        found = _BOUNDS.search(question.query)
        start, end = found.groups() if found else (question.timespan or "").split("/")
        first, last = (parse_instant(each) * self._rows_per_hour // HOUR for each in (start, end))
        return last - first

    def _compressed(self, rows: int) -> bytes:
        return igzip.compress(self._answers.body(rows), 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT; one JSON line on standard output gives the settings of an app that asks here."""
    parser = argparse.ArgumentParser(prog="python -m bench.server", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for ca.pem and the app's credentials")
    parser.add_argument("--rows-per-hour", type=int, required=True)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--half-pair", action="store_true", help="half of a surrogate pair in each answer")
    chosen = parser.parse_args(arguments)
    stop: SimpleQueue[int] = SimpleQueue()  # safe in a signal handler, as an Event is not
    signal.signal(signal.SIGINT, lambda number, _: stop.put(number))

    certificates().authority.cert_pem.write_to_path(chosen.folder / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates().of_server.configure_cert(tls)
    identity = Identity.make(1, chosen.folder)
    entra_id = EntraId(identity, Tokens(identity.tenant_id, 3600, time.time), time.time)
    canned = Canned(chosen.rows_per_hour, chosen.latency, half_pair=chosen.half_pair)
    server = Server(_handler(entra_id, canned), 0, tls)
    environment = {
        "AZURE_TENANT_ID": identity.tenant_id,
        "AZURE_CLIENT_ID": identity.client_id,
        "AZURE_CLIENT_SECRET": identity.client_secret,
        "AZURE_AUTHORITY_HOST": server.url,
        "LOG_ANALYTICS_ENDPOINT": server.url,
        "LOG_ANALYTICS_WORKSPACE_ID": identity.workspace_id,
        "EXPORT_CREDENTIAL": "client_secret",
        "REQUESTS_CA_BUNDLE": str(chosen.folder / "ca.pem"),
    }
    sys.stdout.write(msgspec.json.encode(environment).decode() + "\n")
    sys.stdout.flush()
    while stop.empty():  # in short steps, because Windows delivers no signal to a thread that waits
        time.sleep(0.1)
    server.close()
    return 0


def _handler(entra_id: EntraId, canned: Canned) -> Callable[[Request], Answer]:
    def handle(request: Request) -> Answer:
        if entra_id.serves(request.path):
            return entra_id.answer(request, None)
        if request.path.endswith("/query"):
            return canned.answer(request.body)
        return json_answer(404, {})

    return handle


if __name__ == "__main__":
    sys.exit(main())
