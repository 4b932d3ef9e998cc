"""What the README tells a client is so, in the demo that it tells everybody to start."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow.parquet
import requests
from azure.storage.blob import BlobProperties, BlobServiceClient, ContainerClient

from local.environment import ROOT
from tests.processes import children_of, wait_until_gone

LEVELS = "Event | where EventLevelName == level | summarize count() by Computer"
EVENTS = "Event | project TimeGenerated, EventID"
NUMBERS = "range i from 1 to 12000 step 1"
LATER = {"Prefer": "respond-async"}
ENDS = {"succeeded", "failed", "cancelled"}
PATIENCE = 120.0
"""Seconds after which something will not happen any more, on a machine that is busy with other tests too."""

MEDIA_TYPES = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "csv-guarded": "text/csv",
    "parquet": "application/vnd.apache.parquet",
}

TYPED: dict[str, tuple[object, object]] = {
    "string": ('it\'s "so"\n', 'it\'s "so"\n'),
    "bool": (True, True),
    "int": (-7, -7),
    "long": ("9223372036854775807", 9223372036854775807),
    "real": (2.5, 2.5),
    "decimal": ("0.25", 0.25),  # the service answers text; the stand-in's engine has no such literal
    "datetime": ("2026-11-21T10:00:00.1234567Z", "2026-11-21T10:00:00.1234567Z"),
    "timespan": ("1.02:03:04.5678901", "1.02:03:04.5678901"),
    "guid": ("12345678-1234-1234-1234-123456789abc", "12345678-1234-1234-1234-123456789abc"),
    "dynamic": ({"a": [1, None]}, '{"a":[1,null]}'),
}
"""A value of each type that a parameter may have, and the cell that comes back."""

REFUSED = (
    *(f"{name}('x').T" for name in ("workspace", "app", "resource", "cluster", "database", "adx", "arg")),
    "external_table('x')",
    "stored_query_result('x')",
    "union Event, Workspace // a comment\n ('x').Event",
    "externaldata(a: string) ['https://example.com']",
    "evaluate http_request('https://example.com')",
    "set notruncation; Event",
    "declare query_parameters(a: string); Event",
    "alias database a = b; Event",
    "restrict access to (Event); Event",
    ".show tables",
    "['workspace']('x').Event",
    "Event | take 1; Event",
    "Event | where Computer == 'no end",
)
"""What the guard keeps from the service."""

INNOCENT = (
    "Event | where Computer != 'workspace(x)' | take 1 // cluster('x')",
    "Event | summarize count() by app = Computer, resource = EventID",
)
"""What only looks like it."""


class Client:
    """Asks as a client of somebody else's would, and holds each answer to the app's own OpenAPI document."""

    def __init__(self, url: str, session: requests.Session) -> None:
        self._url = url
        self._session = session
        self._document: dict[str, Any] = session.get(f"{url}/api/openapi.json", timeout=PATIENCE).json()
        assert self._document["openapi"].startswith("3.1.")

    def __call__(
        self, request: str, status: int | set[int], body: object = None, **headers: str
    ) -> requests.Response:
        """Send ``GET /path`` or the like, with a body in JSON if there is one; the answer has this status."""
        method, _, path = request.partition(" ")
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {} if data is None else {"Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self._session.request(
            method, self._url + path, data=data, headers=sent, timeout=PATIENCE, allow_redirects=False
        )
        expected = status if isinstance(status, set) else {status}
        assert answer.status_code in expected, f"{request} {body!r}: {answer.status_code} {answer.text[:999]}"
        self._hold(answer, self._operation(method, path), None if isinstance(body, bytes) else body)
        return answer

    def json(self, request: str, body: object = None, **headers: str) -> Any:
        """What is answered with 200."""
        return self(request, 200, body, **headers).json()

    def rows(self, query: str, **fields: object) -> list[list[Any]]:
        """The rows of a small answer, which is whole."""
        answer = self.json("POST /api/query", {"query": query, **fields})
        assert answer["status"] == "complete"
        assert not answer["truncated"]
        assert answer["returned"] == answer["total"] == len(answer["rows"])
        found: list[list[Any]] = answer["rows"]
        return found

    def mistakes(self, request: str, body: object, **headers: str) -> list[str]:
        """The fields that a 400 names."""
        problem = self(request, 400, body, **headers).json()
        assert problem["field"] == problem["errors"][0]["field"]
        return [error["field"] for error in problem["errors"]]

    def ended(self, location: str) -> Any:
        """The status of a query that has ended, asked for until it has."""
        return _until(lambda: self.json(f"GET {location}"), lambda status: status["status"] in ENDS)

    def sent(self, location: str, coding: str) -> bytes:
        """The very bytes that a client gets which accepts this coding, and follows every redirect."""
        headers = {"Accept-Encoding": coding}
        with self._session.get(
            self._url + location, timeout=PATIENCE, headers=headers, stream=True
        ) as answer:
            assert answer.status_code == 200
            return bytes(answer.raw.read(decode_content=False))

    def run(self, function: str) -> None:
        """Run a function of the app now, as an administrator can; it runs in the background."""
        url = f"{self._url}/admin/functions/{function}"
        assert self._session.post(url, json={"input": ""}, timeout=PATIENCE).status_code == 202

    def _operation(self, method: str, path: str) -> dict[str, Any]:
        """What the document says of a request; of none that it has not."""
        bare = path.partition("?")[0]
        templates = sorted(self._document["paths"], key=lambda template: template.count("{"))
        for template in templates:
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), bare):
                operation: dict[str, Any] = self._document["paths"][template].get(method.lower(), {})
                return operation
        return {}

    def _hold(self, answer: requests.Response, operation: dict[str, Any], body: object) -> None:
        """Hold an answer, and what was sent where that was accepted, to the document."""
        if not operation:
            assert answer.status_code in {404, 405}, "nothing else is answered to what nobody is told of"
            return
        said = self._resolved(operation["responses"][str(answer.status_code)])
        for name, header in said.get("headers", {}).items():
            assert name in answer.headers or not header.get("required", False), (answer.url, name)
            if name in answer.headers and header["schema"].get("type") != "integer":
                self._validate(answer.headers[name], header["schema"])
        media_type = answer.headers.get("Content-Type", "").partition(";")[0]
        if answer.content or said.get("content"):
            content = said["content"][media_type]
            if media_type in {"application/json", "application/problem+json"}:
                self._validate(answer.json(), content["schema"])
        if body is not None and answer.ok:
            self._validate(body, operation["requestBody"]["content"]["application/json"]["schema"])

    def _validate(self, value: object, schema: Mapping[str, Any]) -> None:
        whole = {**schema, "components": self._document["components"]}
        checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
        jsonschema.Draft202012Validator(whole, format_checker=checker).validate(value)

    def _resolved(self, said: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in said:
            return said
        name = said["$ref"].rpartition("/")[2]
        response: dict[str, Any] = self._document["components"]["responses"][name]
        return response


def test_a_client_that_read_the_readme_can_do_all_of_it(demo_port: int, tmp_path: Path) -> None:
    """All that the README promises of queries, proofs and backfills is so, and as the app's document says."""
    settings = ROOT / ".local" / f"demo-{demo_port}" / "settings.json"  # the README says so
    with _demo(demo_port, tmp_path / "console.log"), requests.Session() as session:
        session.trust_env = False  # no proxy, no .netrc: this is loopback
        client = Client(f"http://localhost:{demo_port}", session)
        connection = json.loads(settings.read_text("utf-8"))["Values"]["AzureWebJobsStorage"]
        with BlobServiceClient.from_connection_string(connection) as storage:
            assert client.json("GET /api/health")["status"] == "ok"
            _asks(client, storage.get_container_client("exports-queries"))
            _chooses_a_form(client)
            _gives_parameters(client)
            _says_how_much_and_of_when(client)
            _asks_saved_queries(client)
            _gets_large_answers(client)
            _comes_back_later(client)
            _is_told_what_is_wrong(client)
            _is_kept_within_its_workspace(client)
            _is_one_of_many(client)
            _sees_and_proves(client, storage.get_container_client("exports"))


@contextmanager
def _demo(port: int, console: Path) -> Iterator[None]:
    """The demo from when its app answers until Ctrl-C, which leaves nothing behind."""
    argv = [sys.executable, "-m", "local.demo", "--port", str(port)]
    with (
        console.open("wb") as file,
        subprocess.Popen(argv, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT) as demo,
    ):
        try:
            _until(
                lambda: (console.read_bytes(), demo.poll()),
                lambda seen: b"Exporting what is due" in seen[0] or seen[1] is not None,
            )
            assert demo.poll() is None, console.read_text("utf-8")
            children = [] if os.name == "nt" else children_of(demo.pid)
            yield
            if os.name != "nt":  # Windows cannot send Ctrl-C to one process alone
                demo.send_signal(signal.SIGINT)
                assert demo.wait(PATIENCE) == 0
                assert "Stopped; nothing is left running." in console.read_text("utf-8")
                assert "Traceback" not in console.read_text("utf-8")
                assert len(children) == 2
            for pid in children:
                wait_until_gone(pid)
        finally:
            demo.kill()


def _until(look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    """What is seen once it is good, looked at until then."""
    deadline = time.monotonic() + PATIENCE
    while not good(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    return seen


def _asks(client: Client, kept: ContainerClient) -> None:
    """The README's first question, which leaves a record without its words."""
    question = {"query": LEVELS, "parameters": {"level": "Error"}, "top": 3}
    answer = client.json("POST /api/query", question)
    assert answer["status"] == "complete"
    assert (answer["returned"], answer["truncated"]) == (len(answer["rows"]), True)
    assert answer["returned"] == 3 < answer["total"]
    assert [column["type"] for column in answer["columns"]] == ["string", "long"]
    assert answer["statistics"]["requests"] >= 1
    client(f"GET /api/query/{answer['query_id']}", 404)  # it was given at once: nothing of it is kept
    (name,) = (name for name in kept.list_blob_names(name_starts_with="audit/") if answer["query_id"] in name)
    assert re.fullmatch(r"audit/\d{4}/\d\d/\d\d/[0-9a-f]{32}\.json", name)
    record = kept.download_blob(name).readall()
    asked = f"let level = 'Error';\n{LEVELS}"
    assert json.loads(record)["query_sha256"] == hashlib.sha256(asked.encode()).hexdigest()
    assert b"EventLevelName" not in record


def _chooses_a_form(client: Client) -> None:
    """Each form, by the body and by `Accept`, holds the same; gzip where it is accepted and worth it."""
    query = "print text = '=1+1', number = long(9007199254740993), nothing = ''"
    for name, media_type in MEDIA_TYPES.items():
        by_body = client("POST /api/query", 200, {"query": query, "format": name}, Accept="image/png")
        by_header = client("POST /api/query", 200, {"query": query}, Accept=f"{media_type}, */*;q=0.1")
        for form, answer in ((name, by_body), (name.removesuffix("-guarded"), by_header)):
            assert answer.headers["Content-Type"].partition(";")[0] == media_type
            assert _read(form, answer.content) == [
                "'=1+1" if form == "csv-guarded" else "=1+1", 9007199254740993, ""
            ]  # fmt: skip
            if form != "json":
                assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Query-Id"])
                assert answer.headers["X-Query-Returned"] == answer.headers["X-Query-Total"] == "1"
                assert json.loads(answer.headers["X-Query-Statistics"])["rows"] == 1
    many = {"query": f"{NUMBERS} | take 1000"}
    packed = client("POST /api/query", 200, many, Accept_Encoding="gzip")
    plain = client("POST /api/query", 200, many, Accept_Encoding="identity")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.json()["rows"] == plain.json()["rows"]
    client("POST /api/query", 406, {"query": query}, Accept="text/html")


def _gives_parameters(client: Client) -> None:
    """Values of all types, named with their type or in short, arrive as they were."""
    query = "print " + ", ".join(f"{name}_" for name in TYPED)
    typed = {f"{name}_": {"type": name, "value": value} for name, (value, _) in TYPED.items()}
    answer = client.json("POST /api/query", {"query": query, "parameters": typed})
    assert answer["rows"] == [[cell for _, cell in TYPED.values()]]
    types = dict(zip(TYPED, (column["type"] for column in answer["columns"]), strict=True))
    assert {name for name, type_ in types.items() if name != type_} <= {"decimal"}
    short = {"a": "x", "b": False, "c": 5, "d": 0.5, "e": [1, "y"]}
    answer = client.json("POST /api/query", {"query": "print a, b, c, d, e", "parameters": short})
    assert answer["rows"] == [["x", False, 5, 0.5, '[1,"y"]']]
    assert [column["type"] for column in answer["columns"]] == ["string", "bool", "long", "real", "dynamic"]
    nothing = {name: {"type": name, "value": None} for name in ("int", "datetime", "guid")}
    renamed = {f"{name}_": value for name, value in nothing.items()}
    assert client.rows("print int_, datetime_, guid_", parameters=renamed) == [[None, None, None]]


def _says_how_much_and_of_when(client: Client) -> None:
    """`top` and `total` count, and each way to say a time gives the same rows."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    first, last = hour - timedelta(hours=9), hour - timedelta(hours=1)
    start, end = (f"{bound:%Y-%m-%dT%H:%M:%SZ}" for bound in (first, last))
    spans = ({"timespan": f"{start}/{end}"}, {"timespan": f"{start}/PT8H"}, {"timespan": f"PT8H/{end}"})
    found = [sorted(client.rows(EVENTS, **span)) for span in (*spans, {"start": start, "end": end})]
    assert found[0]
    assert all(rows == found[0] for rows in found)
    assert all(first <= datetime.fromisoformat(time_) <= last for time_, _ in found[0])
    answer = client.json("POST /api/query", {"query": EVENTS, "start": start, "end": end, "top": 2})
    assert (answer["returned"], answer["total"], answer["truncated"]) == (2, len(found[0]), True)
    assert len(client.rows(EVENTS, start=start, end=end, top=450_000)) == len(found[0])
    counts = [client.rows(f"{EVENTS} | count", timespan=f"P{days}")[0][0] for days in ("1D", "3DT12H", "1W")]
    assert counts == sorted(counts)
    assert counts[0] > len(found[0])
    assert client.rows("Event | count", timespan="P7D", workspace="default") == [[counts[-1]]]
    for field, value in (("top", 0), ("timespan", "P1M"), ("timespan", f"{end}/{start}"), ("end", start)):
        assert client.mistakes("POST /api/query", {"query": EVENTS, field: value})


def _asks_saved_queries(client: Client) -> None:
    """They are listed with what they take, asked by name, and refused with what is missing or wrong."""
    listed = client.json("GET /api/queries")
    assert listed["problems"] == []
    assert {each["name"]: each["parameters"] for each in listed["queries"]} == {
        "events-by-computer": [{"name": "level", "type": "string", "default": "'Error'"}],
        "failed-sign-ins": [{"name": "user", "type": "string", "default": None}],
    }
    events = "POST /api/query/events-by-computer"
    assert client.json(events)["rows"]
    week = {"timespan": "P7D"}
    usual, chosen = (client.json(events, body)["rows"] for body in (week, {**week, **_level("Error")}))
    assert sorted(usual) == sorted(chosen)  # computers with as many events stand in any order
    warnings = client.json(events, {**week, **_level("Warning"), "top": 1})
    assert warnings["returned"] == 1 < warnings["total"]
    assert _read("csv", client(events, 200, {**week, "format": "csv"}).content)[1] == usual[0][1]
    sign_ins = "POST /api/query/failed-sign-ins"
    assert client.json(sign_ins, {"parameters": {"user": "nobody@contoso.com"}})["rows"] == []
    assert client.mistakes(sign_ins, {}) == ["parameters.user"]
    wrong = {"parameters": {"user": 5, "other": 1}, "top": 0}
    assert sorted(client.mistakes(sign_ins, wrong)) == ["parameters.other", "parameters.user", "top"]
    assert client.mistakes(sign_ins, {"query": "Event", "parameters": {"user": "x"}}) == ["query"]
    client("POST /api/query/no-such", 404, {})


def _level(level: str) -> dict[str, object]:
    return {"parameters": {"level": level}}


def _gets_large_answers(client: Client) -> None:
    """What is too large to be sent, or is to be kept, is stored whole, and found where the answer says."""
    answer = client.json("POST /api/query", {"query": NUMBERS})
    assert (answer["returned"], answer["total"], answer["truncated"]) == (10_000, 12_000, True)
    assert len(client.json(f"GET {answer['result_url']}")["rows"]) == 12_000
    result = client.json(f"GET /api/query/{answer['query_id']}")["result"]
    assert (result["url"], result["rows"], result["format"]) == (answer["result_url"], 12_000, "json")
    stored = client.sent(answer["result_url"], "gzip")
    assert (len(stored), hashlib.sha256(stored).hexdigest()) == (result["bytes"], result["sha256"])
    for form in MEDIA_TYPES.keys() - {"json"}:
        kept = {"query": "print a = 7", "format": form, "destination": "blob"}
        location = client("POST /api/query", 303, kept).headers["Location"]
        assert _read(form, client(f"GET {location}", 200).content) == [7]
    kept = client.json("POST /api/query", {"query": EVENTS, "top": 5, "destination": "blob"})
    assert (kept["rows"], kept["truncated"]) == ([], True)
    assert len(client.json(f"GET {kept['result_url']}")["rows"]) == 5
    client(f"DELETE /api/query/{kept['query_id']}", 204)
    for request in ("GET", "DELETE"):
        client(f"{request} /api/query/{kept['query_id']}", 404)
    client(f"GET {kept['result_url']}", 404)

    wide = {"query": f"{NUMBERS} | extend text = strcat('{'wide ' * 150}', i)", "format": "ndjson"}
    location = client("POST /api/query", 303, wide).headers["Location"]
    link = client(f"GET {location}", 302, Accept_Encoding="identity").headers["Location"]
    assert "result.jsonl.gz" in link
    assert len(gzip.decompress(client.sent(location, "identity")).splitlines()) == 12_000


def _comes_back_later(client: Client) -> None:
    """A query that is put off is found where the answer says, until it is deleted; a wrong one tells why."""
    for body, headers in (
        ({"query": EVENTS}, LATER),
        ({"query": EVENTS, "wait": 0, "format": "csv"}, {}),
        ({"query": f"{EVENTS} | sort by TimeGenerated", "format": "parquet"}, {"Prefer": "wait=0"}),
    ):
        location = client("POST /api/query", 202, body, **headers).headers["Location"]
        status = client.ended(location)
        assert status["status"] == "succeeded"
        assert status["asked_at"] <= status["started_at"] <= status["finished_at"] < status["expires_at"]
        assert status["result"]["rows"] == status["statistics"]["rows"] > 0
        client(f"GET {location}/result", 200)
        client(f"DELETE {location}", 204)
        client(f"GET {location}", 404)
    location = client("POST /api/query", 202, {"query": "Event | project Nope"}, **LATER).headers["Location"]
    status = client.ended(location)
    assert (status["status"], status["error"]["service_status"]) == ("failed", 400)
    client(f"GET {location}/result", 410)
    client("POST /api/query", 200, {"query": "print 1", "wait": 20}, **LATER)  # the body goes first


def _is_told_what_is_wrong(client: Client) -> None:
    """Each mistake has its status, and those of one request are told at once."""
    wrong = {
        "query": "cluster('x').T", "start": "yesterday", "end": "now", "top": "many", "workspace": "nobody's",
        "format": "xml", "destination": "disk", "wait": 999, "other": 1,
        "parameters": {"1st": 1, "none": None, "id": {"type": "guid", "value": "x"}},
    }  # fmt: skip
    parameters = {"parameters.1st", "parameters.none", "parameters.id"}
    assert set(client.mistakes("POST /api/query", wrong)) == wrong.keys() - {"parameters"} | parameters
    both = {"query": "Event", "timespan": "P1D", "start": "2026-11-20", "end": "2026-11-21"}
    assert client.mistakes("POST /api/query", both) == ["timespan"]
    assert client.mistakes("POST /api/query", {"query": f"print '{'x' * 100_000}'"}) == ["query"]
    assert client.mistakes("POST /api/query", {"query": "Event", "timespan": "P367D"}) == ["timespan"]
    assert client.mistakes("POST /api/query", b"{") == ["body"]
    refused = client("POST /api/query", 400, {"query": "NoSuchTable"}).json()
    assert refused["code"]
    assert refused["request_id"]
    client("POST /api/query", 413, b'{"query": "' + b"x" * (1 << 20) + b'"}')
    client("POST /api/query", 415, {"query": "Event"}, Content_Type="text/plain")
    nobody = "0" * 32
    for request in ("GET /api/query/", "DELETE /api/query/"):
        client(request + nobody, 404)
    client(f"GET /api/query/{nobody}/result", 404)
    client("GET /api/nothing", 404)
    for request in ("GET /api/query", "PUT /api/query", "POST /api/health", "DELETE /api/queries"):
        refused = client(request, 405)
        assert refused.headers["Allow"]
        assert refused.json()["status"] == 405


def _is_kept_within_its_workspace(client: Client) -> None:
    """What looks beyond it is refused, each by name; what only looks so is asked."""
    for query in REFUSED:
        assert client.mistakes("POST /api/query", {"query": query}) == ["query"], query
    for query in INNOCENT:
        assert client.rows(query)


def _is_one_of_many(client: Client) -> None:
    """Too many are told when to come again; one that still waits is cancelled, and has no result any more."""
    slow = {"query": "range i from 1 to 50000 step 1 | extend text = strcat('row ', i)", "wait": 0}
    waiting: list[str] = []
    while "the queue has room":
        answer = client("POST /api/query", {202, 429}, slow)
        if answer.status_code == 429:
            assert int(answer.headers["Retry-After"]) > 0
            break
        waiting.append(answer.headers["Location"])
        assert len(waiting) < 100
    last = waiting.pop()
    assert int(client(f"GET {last}", 200).headers["Retry-After"]) > 0
    assert int(client(f"GET {last}/result", 409).headers["Retry-After"]) > 0
    client(f"DELETE {last}", 204)
    assert client.json(f"GET {last}")["status"] == "cancelled"
    client(f"GET {last}/result", 410)
    client(f"DELETE {last}", 204)
    client(f"GET {last}", 404)
    for location in waiting:
        client(f"DELETE {location}", 204)


def _sees_and_proves(client: Client, stored: ContainerClient) -> None:
    """Receipts, coverage, proofs and backfills are right; what is damaged is found, and mended when asked."""
    export = "/api/exports/windows-events"
    due = client.json(f"GET {export}/coverage")["due_until"]
    covered = _until(
        lambda: client.json(f"GET {export}/coverage"),
        lambda found: found["covered"] and found["covered"][0]["end"] >= due,
    )
    assert covered["denied"] is None
    assert covered["failures"] == covered["backfills"] == covered["unavailable"] == []
    first, second, *_ = (blob for blob in _data(stored) if int(blob.metadata["rows"]))
    span = {"start": first.metadata["window_start"], "end": second.metadata["window_end"]}
    part = client.json(f"GET {export}/coverage?start={span['start']}&end={span['end']}")
    assert (part["covered"], part["gaps"]) == ([span], [])
    content = stored.download_blob(first.name).readall()
    assert hashlib.sha256(content).hexdigest() == first.metadata["sha256"]
    assert len(gzip.decompress(content).splitlines()) == int(first.metadata["rows"])

    verify = f"POST {export}/verify"
    for body in (span, {**span, "deep": True}, {**span, "deep": True, "repair": True}):
        proof = client.json(verify, body)
        assert proof["complete"] == proof["windows"] >= 2
        assert proof["missing"] == proof["differing"] == proof["damaged"] == []
        assert proof["repair"] is False, "nothing had to be"
    other = gzip.compress(gzip.decompress(content), mtime=1)  # the demo, which may look too, finds its rows
    stored.upload_blob(first.name, other, overwrite=True, metadata=first.metadata)
    proof = client.json(verify, {**span, "deep": True, "repair": True})
    assert ([each["start"] for each in proof["damaged"]], proof["repair"]) == ([span["start"]], True)
    client.run("export_log_analytics")
    _until(lambda: client.json(verify, {**span, "deep": True}), lambda proof: not proof["damaged"])
    assert hashlib.sha256(stored.download_blob(first.name).readall()).hexdigest() == first.metadata["sha256"]

    later = {"start": "2999-01-01T00:00:00Z", "end": "2999-01-02T00:00:00Z"}
    begun = client(f"POST {export}/backfill", 202, {**later, "force": True, "allow_shrink": True})
    assert begun.headers["Location"] == f"{export}/coverage"
    assert begun.json() in client.json(f"GET {export}/coverage")["backfills"]
    assert begun.json()["id"] in client.json(f"DELETE {export}/backfill")["ended"]
    assert client.json(f"DELETE {export}/backfill") == {"ended": []}

    wrong = {"start": "x", "end": "y", "deep": 1}
    assert sorted(client.mistakes(verify, wrong)) == ["deep", "end", "start"]
    assert client.mistakes(f"POST {export}/backfill", {"force": True}) == ["start", "end"]
    assert client.mistakes(f"GET {export}/coverage?start=2026-11-21", None) == ["end"]
    client("GET /api/exports/no-such/coverage", 404)
    client("POST /api/exports/no-such/verify", 404, span)
    client("DELETE /api/exports/no-such/backfill", 404)


def _data(stored: ContainerClient) -> list[BlobProperties]:
    """The blobs of the export of events, in the order of their windows, with their receipts."""
    return list(stored.list_blobs(name_starts_with="windows-events/", include=["metadata"]))


def _read(form: str, content: bytes) -> list[object]:
    """The cells of a file's first row."""
    match form:
        case "json":
            (row,) = json.loads(content)["rows"]
            return list(row)
        case "ndjson":
            return list(json.loads(content.splitlines()[0]).values())
        case "parquet":
            return list(pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()[0].values())
    _, row = list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))[:2]
    return [int(cell) if cell.isdecimal() else cell for cell in row]
