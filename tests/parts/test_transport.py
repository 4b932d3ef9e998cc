"""One request to one API: when it is repeated, for how long, and where its token may go."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from shared.clock import SystemClock
from shared.clouds import Api
from shared.errors import DeadlineError, ExportError, ForeignHostError, ServiceError, TransportError
from shared.model import Request, Response
from shared.transport import RetryPolicy, Transport
from shared.windows import SECOND, parse_instant
from tests.parts.fakes import FakeClock
from tests.parts.web import Handler, Script, Web, answer, raw

SECRET = "token-that-nobody-may-see"
TARGET = "/v1/things?$filter=secret-query"
WHOLE = b'{"value": [1, 2, 3]}'
GOOD = answer(200, WHOLE)


class Tokens:
    """Gives a new token after each refusal."""

    def __init__(self) -> None:
        self.refusals: list[str] = []

    def token(self, scope: str) -> str:
        """Return the present token."""
        assert scope == "scope"
        return f"{SECRET}-{len(self.refusals)}"

    def refused(self, scope: str, token: str) -> None:
        """Note a refused token."""
        assert scope == "scope"
        self.refusals.append(token)


class Client:
    """A transport on a clock of its own, and a server that plays scripts to it."""

    def __init__(self) -> None:
        self.web = Web([])
        self.clock = FakeClock()
        self.tokens = Tokens()
        self.policy = RetryPolicy()

    def send(self, *scripts: Script, request: Request | None = None) -> Response:
        """Send one request to a server that plays these scripts."""
        self.web.scripts[:] = scripts
        transport = Transport(self.tokens, self.clock, policy=self.policy, uniform=lambda _low, high: high)
        return transport.sender(self.api)(request or Request("GET", TARGET))

    def fails(self, *scripts: Script, request: Request | None = None) -> ExportError:
        """Send a request that ends in an error, which tells neither the token nor the query."""
        with pytest.raises(ExportError) as caught:
            self.send(*scripts, request=request)
        assert SECRET not in str(caught.value)
        assert "secret-query" not in str(caught.value)
        return caught.value

    @property
    def api(self) -> Api:
        """The server as an API."""
        return Api("Test", self.web.origin, "scope")


@pytest.fixture
def client() -> Iterator[Client]:
    """Return a client with its server."""
    made = Client()
    with made.web:
        yield made


def post(**changes: Any) -> Request:
    """Return a POST of a query."""
    return Request("POST", TARGET, b'{"query": "Event"}', {"Content-Type": "application/json"}, **changes)


def test_a_request_arrives_as_it_was_meant(client: Client) -> None:
    """Method, target, body, headers and token arrive; the answer's header names come back lower-case."""
    response = client.send(answer(200, WHOLE, X_Thing="1"), request=post())
    (seen,) = client.web.seen
    assert (seen.method, seen.target, seen.body) == ("POST", TARGET, b'{"query": "Event"}')
    assert seen.token == f"Bearer {SECRET}-0"
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.headers["User-Agent"].startswith("azure-log-exports/")
    assert (response.status, response.body, response.headers["x-thing"]) == (200, WHOLE, "1")


def test_a_compressed_answer_is_unpacked(client: Client) -> None:
    """The wire's compression is not the caller's business."""
    assert client.send(answer(200, gzip.compress(WHOLE), Content_Encoding="gzip")).body == WHOLE


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_in_many_small_pieces_is_whole(client: Client, *, chunked: bool, packed: bool) -> None:
    """However the bytes come in, alone or compressed or in chunks, all of them arrive."""
    body = gzip.compress(WHOLE) if packed else WHOLE

    def piecemeal(handler: Handler) -> None:
        handler.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kind = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
        handler.wfile.write(HEAD + kind + (b"\r\nContent-Encoding: gzip" if packed else b"") + b"\r\n\r\n")
        for byte in body:
            handler.wfile.write(b"1\r\n%c\r\n" % byte if chunked else bytes([byte]))
            threading.Event().wait(0.001)  # so that the bytes do not travel together
        handler.wfile.write(b"0\r\n\r\n" if chunked else b"")

    assert client.send(piecemeal).body == WHOLE


def test_a_large_answer_is_whole(client: Client) -> None:
    """An answer of many megabytes, compressed, comes out as it went in."""
    body = bytes(range(256)) * 40_000
    assert client.send(answer(200, gzip.compress(body, 1), Content_Encoding="gzip")).body == body


def test_answers_share_connections(client: Client) -> None:
    """A connection is used again, also after an error and an empty body."""
    ports: list[int] = []

    def noting(script: Script) -> Script:
        def run(handler: Handler) -> None:
            ports.append(handler.client_address[1])
            script(handler)

        return run

    client.web.scripts[:] = [
        noting(each) for each in (answer(500, b""), answer(429), GOOD, answer(200, b""), GOOD)
    ]
    send = Transport(client.tokens, client.clock).sender(client.api)
    for _ in range(3):
        send(Request("GET", TARGET))
    assert len(ports) == 5
    assert len(set(ports)) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 509])
@pytest.mark.parametrize("request_", [Request("GET", TARGET), post()], ids=["GET", "POST"])
def test_transient_statuses_are_repeated(client: Client, status: int, request_: Request) -> None:
    """What passes by itself is tried again, a query by POST too."""
    assert client.send(answer(status), answer(status), GOOD, request=request_).body == WHOLE
    assert len(client.web.seen) == 3
    assert {seen.body for seen in client.web.seen} == {request_.body or b""}


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 410, 413, 501, 505])
def test_other_statuses_are_not_repeated(client: Client, status: int) -> None:
    """What somebody must mend is told at once."""
    error = client.fails(answer(status), GOOD)
    assert isinstance(error, ServiceError)
    assert (error.status, error.retryable) == (status, False)
    assert len(client.web.seen) == 1


def test_final_statuses_are_not_repeated(client: Client) -> None:
    """A caller that can do better than repeat says so; the error remains one that a retry may mend."""
    error = client.fails(answer(504), GOOD, request=post(final=frozenset({504})))
    assert isinstance(error, ServiceError)
    assert error.retryable
    assert len(client.web.seen) == 1


REFUSAL = b'{"error":{"code":"UnknownError","message":"Unsupported Query"}}'


def test_a_doubtful_refusal_is_repeated(client: Client) -> None:
    """A refusal that is seen to pass is not taken at its first word, and stays one when it does not pass."""
    doubtful = Request("GET", TARGET, doubtful=("Unsupported Query",))
    assert client.send(answer(400, REFUSAL), answer(400, REFUSAL), GOOD, request=doubtful).body == WHOLE
    assert client.fails(answer(400, REFUSAL), request=doubtful).retryable
    assert not client.fails(answer(400, b"{}"), request=doubtful).retryable
    assert not client.fails(answer(400, REFUSAL)).retryable


@pytest.mark.parametrize("broken", [answer(500), answer(503), answer(504), raw(b"")])
def test_what_may_have_been_done_is_not_done_twice(client: Client, broken: Script) -> None:
    """A request that creates something is not repeated when nobody knows what became of it."""
    assert client.fails(broken, GOOD, request=post(once=True)).retryable
    assert len(client.web.seen) == 1


def test_what_was_refused_for_haste_was_not_done(client: Client) -> None:
    """A throttled request was not carried out, so it can be repeated; so can one with an old token."""
    assert client.send(answer(429), answer(401), GOOD, request=post(once=True)).body == WHOLE


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PACKED = gzip.compress(WHOLE * 100)
# Left out is what HTTP cannot tell from a whole answer, and only the decoder of JSON can: a header block
# without a length that ends early, and a gzip stream that was cut before its length was counted.
BROKEN = {
    "dropped before the answer": b"",
    "no answer at all": b"hello\r\n\r\n",
    "content-length short": HEAD + b"Content-Length: 20\r\n\r\n" + WHOLE[:10],
    "chunk cut": HEAD + b"Transfer-Encoding: chunked\r\n\r\n14\r\n" + WHOLE[:10],
    "no last chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n14\r\n" + WHOLE + b"\r\n",
    "gzip cut": HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED) + PACKED[:-9],
    "gzip damaged": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + WHOLE,
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_broken_answers_are_repeated(client: Client, broken: bytes) -> None:
    """An answer that breaks off, wherever it does, is never taken for a whole one."""
    assert client.send(raw(broken), GOOD).body == WHOLE
    assert len(client.web.seen) == 2


def test_broken_answers_end_in_an_error_that_a_retry_can_mend(client: Client) -> None:
    """After the last attempt the error says which API, and neither path nor query."""
    error = client.fails(raw(BROKEN["content-length short"]))
    assert isinstance(error, TransportError)
    assert error.retryable
    assert len(client.web.seen) == client.policy.attempts
    assert client.web.origin in str(error)


def test_a_refused_connection_is_repeated() -> None:
    """Where nobody listens, the attempts are used up and the error says which host."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    clock = FakeClock()
    send = Transport(Tokens(), clock).sender(Api("Test", f"http://127.0.0.1:{port}", "scope"))
    with pytest.raises(TransportError, match=rf"127\.0\.0\.1:{port}") as caught:
        send(Request("GET", TARGET))
    assert len(clock.sleeps) == RetryPolicy().attempts - 1
    assert "secret-query" not in str(caught.value)


def test_waits_grow_up_to_a_cap(client: Client) -> None:
    """The longest possible waits double from one second; the jitter chooses below them."""
    client.policy = RetryPolicy(attempts=8, total=1000, base=1, cap=10)
    client.fails(answer(500))
    assert client.clock.sleeps == [1, 2, 4, 8, 10, 10, 10]
    assert len(client.web.seen) == 8


def test_jitter_begins_at_zero(client: Client) -> None:
    """The wait is drawn between nothing and the bound, so that many workers do not come back as one."""
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return low

    client.web.scripts[:] = [answer(500), answer(500), GOOD]
    Transport(client.tokens, client.clock, uniform=uniform).sender(client.api)(Request("GET", TARGET))
    assert bounds == [(0, 1), (0, 2)]
    assert client.clock.sleeps == [0, 0]


def test_total_time_bounds_the_attempts(client: Client) -> None:
    """No attempt begins later than the total after the first."""
    client.policy = RetryPolicy(attempts=100, total=20, base=1, cap=10)
    client.fails(answer(500))
    assert client.clock.sleeps == [1, 2, 4, 8]


def test_the_deadline_bounds_the_attempts(client: Client) -> None:
    """No attempt begins at or after the request's own deadline."""
    error = client.fails(answer(500), request=Request("GET", TARGET, deadline=7.0))
    assert isinstance(error, ServiceError)
    assert client.clock.sleeps == [1, 2]


def test_a_deadline_in_the_past_sends_nothing(client: Client) -> None:
    """Without time left the service is not even asked."""
    assert isinstance(client.fails(GOOD, request=Request("GET", TARGET, deadline=0.0)), DeadlineError)
    assert client.web.seen == []


def test_an_answer_that_drips_ends_at_the_deadline(client: Client) -> None:
    """A service that sends a byte now and then does not hold a request beyond its deadline.

    Time is real here, because it is the socket that has to notice.
    """
    stop = threading.Event()

    def drip(handler: Handler) -> None:
        handler.wfile.write(HEAD + b"Content-Length: 600\r\n\r\n")
        for _ in range(600):  # a minute
            stop.wait(0.1)
            handler.wfile.write(b" ")
            handler.wfile.flush()

    client.web.scripts[:] = [drip]
    clock = SystemClock()
    send = Transport(client.tokens, clock, policy=RetryPolicy(attempts=1)).sender(client.api)
    began = time.monotonic()
    with pytest.raises(ExportError):
        send(Request("GET", TARGET, deadline=clock.monotonic() + 0.4))
    stop.set()
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("stays", [False, True])
def test_an_answer_that_stalls_ends_at_the_deadline(
    client: Client, *, chunked: bool, packed: bool, stays: bool
) -> None:
    """What came late, and then no more, does not get anew the time that the whole request had.

    Time is real here too: 2 seconds, of which the most has gone by when the body begins.
    """
    stop = threading.Event()
    body = gzip.compress(WHOLE) if packed else WHOLE

    def stall(handler: Handler) -> None:
        kind = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
        kind += b"\r\nContent-Encoding: gzip" if packed else b""
        kind += b"" if stays else b"\r\nConnection: close"
        handler.wfile.write(HEAD + kind + b"\r\n\r\n")
        stop.wait(1.6)
        handler.wfile.write(b"%x\r\n%b\r\n" % (10, body[:10]) if chunked else body[:10])
        stop.wait(60)

    client.web.scripts[:] = [stall]
    clock = SystemClock()
    send = Transport(client.tokens, clock, policy=RetryPolicy(attempts=1)).sender(client.api)
    began = time.monotonic()
    with pytest.raises(DeadlineError):
        send(Request("GET", TARGET, deadline=clock.monotonic() + 2))
    stop.set()
    assert time.monotonic() - began < 3.2  # 3.6 is what the body would have anew


def test_a_connection_whose_time_ran_short_is_as_good_as_any(client: Client) -> None:
    """The next request on it has its own time."""
    clock = SystemClock()

    def slow(handler: Handler) -> None:
        threading.Event().wait(1.5)
        GOOD(handler)

    client.web.scripts[:] = [GOOD, slow]
    send = Transport(client.tokens, clock, policy=RetryPolicy(attempts=1)).sender(client.api)
    send(Request("GET", TARGET, deadline=clock.monotonic() + 1))
    assert send(Request("GET", TARGET)).body == WHOLE


def at(seconds: float) -> str:
    """Return the HTTP date that lies so many seconds after the fake clock's beginning."""
    unix = (FakeClock().now() - parse_instant("1970-01-01")) / SECOND
    return formatdate(unix + seconds, usegmt=True)


@pytest.mark.parametrize("value", ["7", " 7 ", at(7)])
def test_retry_after_is_waited_for(client: Client, value: str) -> None:
    """Retry-After counts as seconds and as a date, and the jitter comes on top."""
    client.send(answer(429, Retry_After=value), GOOD)
    assert client.clock.sleeps == [pytest.approx(7 + 1)]


@pytest.mark.parametrize("value", ["0", "-3", at(-3600)])
def test_retry_after_in_the_past_is_no_wait(client: Client, value: str) -> None:
    """A moment that has passed leaves only the jitter."""
    client.send(answer(429, Retry_After=value), GOOD)
    assert client.clock.sleeps == [1]


@pytest.mark.parametrize("value", ["soon", "7 s", "inf", "nan", "1e999", "Mon, 99 Foo 2026 00:00:00 GMT", ""])
def test_a_retry_after_that_says_nothing_is_ignored(client: Client, value: str) -> None:
    """A value that is neither seconds nor a date is as good as none."""
    client.send(answer(503, Retry_After=value), GOOD)
    assert client.clock.sleeps == [1]


@pytest.mark.parametrize("value", ["3600", at(3600)])
def test_a_retry_after_beyond_the_budget_is_handed_on(client: Client, value: str) -> None:
    """Whoever called learns how long to wait, and nobody sleeps through it here."""
    error = client.fails(answer(429, Retry_After=value), GOOD)
    assert isinstance(error, ServiceError)
    assert error.retry_after == pytest.approx(3600)
    assert client.clock.sleeps == []


def test_a_refused_token_is_renewed_once(client: Client) -> None:
    """After a 401 a new token is tried at once, without a wait."""
    assert client.send(answer(401), GOOD).body == WHOLE
    assert [seen.token for seen in client.web.seen] == [f"Bearer {SECRET}-0", f"Bearer {SECRET}-1"]
    assert client.tokens.refusals == [f"{SECRET}-0"]
    assert client.clock.sleeps == []


def test_a_second_401_is_an_error(client: Client) -> None:
    """A new token that is refused too will not get better."""
    error = client.fails(answer(401))
    assert isinstance(error, ServiceError)
    assert (error.status, error.retryable) == (401, False)
    assert len(client.web.seen) == 2


def test_a_401_among_other_failures_is_renewed_too(client: Client) -> None:
    """The renewal does not use up an attempt, and happens once a request."""
    client.policy = RetryPolicy(attempts=3)
    assert client.send(answer(500), answer(401), answer(500), GOOD).body == WHOLE


FOREIGN = {
    "host": "https://evil.example/v1/things?secret-query",
    "loopback by another name": "http://localhost:{port}/v1",
    "port": "http://127.0.0.1:1/v1",
    "scheme": "https://127.0.0.1:{port}/v1",
    "no port": "http://127.0.0.1/v1",
    "scheme-relative": "//evil.example/v1",
    "user-info": "http://127.0.0.1:{port}@evil.example/v1",
    "user-info at home": "http://user:secret-query@127.0.0.1:{port}/v1",
    "empty user-info": "http://@127.0.0.1:{port}/v1",
    "back slash": "http://127.0.0.1:{port}\\@evil.example/v1",
    "back slash reversed": "http://evil.example\\@127.0.0.1:{port}/v1",
    "tail": "http://127.0.0.1:{port}.evil.example/v1",
    "bad port": "http://127.0.0.1:99999/v1",
    "other scheme": "file:///etc/passwd",
    "bad address": "http://[::1/v1",
}


@pytest.mark.parametrize("url", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("how", ["next link", "redirect"])
def test_a_token_never_leaves_its_origin(client: Client, url: str, how: str) -> None:
    """A link or a redirect to anywhere else is refused before anything is sent."""
    url = url.format(port=client.web.origin.rpartition(":")[2])
    if how == "next link":
        error = client.fails(GOOD, request=Request("GET", url))
    else:
        error = client.fails(answer(307, Location=url), GOOD)
    assert isinstance(error, ForeignHostError)
    assert not error.retryable
    assert "evil.example" not in str(error) or client.web.origin in str(error)
    assert len(client.web.seen) == (how == "redirect")


@pytest.mark.parametrize("target", [TARGET, "v1/things?$filter=secret-query", "{origin}" + TARGET])
def test_targets_on_the_origin(client: Client, target: str) -> None:
    """A path and an absolute URL of the origin are the same target."""
    client.send(GOOD, request=Request("GET", target.format(origin=client.web.origin)))
    assert client.web.seen[0].target == TARGET


def test_an_upper_case_host_is_the_same_host() -> None:
    """Host names do not differ by case."""
    api = Api("Test", "https://API.example", "scope")
    clock = FakeClock()
    with pytest.raises(DeadlineError):  # only the deadline keeps it from being sent
        Transport(Tokens(), clock).sender(api)(Request("GET", "https://api.EXAMPLE:443/v1", deadline=0.0))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_at_home_are_followed_for_get(client: Client, status: int) -> None:
    """A relative or absolute location on the origin is followed, with the token."""
    moved, again = (
        answer(status, Location="/v2/things?a=b"),
        answer(status, Location=client.web.origin + "/v3"),
    )
    assert client.send(moved, again, GOOD).body == WHOLE
    assert [seen.target for seen in client.web.seen] == [TARGET, "/v2/things?a=b", "/v3"]
    assert {seen.token for seen in client.web.seen} == {f"Bearer {SECRET}-0"}


@pytest.mark.parametrize("status", [307, 308])
def test_redirects_that_keep_the_method_are_followed_for_post(client: Client, status: int) -> None:
    """The body is sent again to the new place."""
    assert client.send(answer(status, Location="/v2"), GOOD, request=post()).body == WHOLE
    assert [(seen.method, seen.body) for seen in client.web.seen] == [("POST", b'{"query": "Event"}')] * 2


@pytest.mark.parametrize("status", [301, 302, 303])
def test_redirects_that_would_turn_a_post_into_a_get_are_errors(client: Client, status: int) -> None:
    """They mean a wrong endpoint; the error names the place, without its query."""
    error = client.fails(answer(status, Location="/login?secret-query"), GOOD, request=post())
    assert "'/login'" in str(error)
    assert len(client.web.seen) == 1


def test_endless_redirects_end(client: Client) -> None:
    """After three there is an error."""
    assert isinstance(client.fails(answer(307, Location="/again")), ServiceError)
    assert len(client.web.seen) == 4


def test_a_redirect_without_a_location_is_an_error(client: Client) -> None:
    """There is nowhere to go, and asking the same place again would not end."""
    assert isinstance(client.fails(answer(307)), ExportError)
    assert len(client.web.seen) <= 4


def test_a_netrc_file_does_not_replace_the_token(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A developer's .netrc has logins for hosts; the API gets its bearer token all the same."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\ndefault login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client.send(answer(307, Location="/again"), GOOD)
    assert {seen.token for seen in client.web.seen} == {f"Bearer {SECRET}-0"}


def test_no_cookies_are_kept(client: Client) -> None:
    """What one request was given, the next one does not send."""
    cookie = answer(500, Set_Cookie="session=1; Path=/")
    client.send(cookie, answer(307, Set_Cookie="other=2", Location="/again"), GOOD)
    assert not any("Cookie" in seen.headers for seen in client.web.seen)


LOGS_ERROR = b"""{"error": {"code": "BadArgumentError", "message": "wrong", "correlationId": "c-1",
    "innererror": {"code": "SemanticError", "message": "no column", "innererror": {"code": "SEM0100"}}}}"""
GRAPH_ERROR = b"""{"error": {"code": "Request_BadRequest", "message": "bad filter",
    "innerError": {"request-id": "r-1"}}}"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (LOGS_ERROR, ["400", "BadArgumentError/SemanticError/SEM0100", "wrong no column", "c-1"]),
        (GRAPH_ERROR, ["400", "Request_BadRequest", "bad filter", "r-1"]),
        (b"<html>gateway</html>", ["400", "gateway", "h-1"]),
        (b"", ["400", "gave no reason", "h-1"]),
        (b"\xff\xfe", ["400", "h-1"]),
        (b"[]", ["400"]),
        (b'{"error": "invalid"}', ["400", "invalid"]),
        (b'{"error": {"code": 7, "message": null, "innererror": "x", "details": ["x"]}}', ["400", "7"]),
    ],
)
def test_errors_carry_what_the_service_said(client: Client, body: bytes, words: list[str]) -> None:
    """The code from the outermost to the innermost, the messages, and the id to give to Microsoft."""
    text = str(client.fails(answer(400, body, x_ms_request_id="h-1")))
    assert [word for word in words if word not in text] == []


def test_threads_share_a_transport(client: Client) -> None:
    """Many requests at the same time get their own answers."""

    def echo(handler: Handler) -> None:
        answer(200, handler.path.encode())(handler)

    client.web.scripts[:] = [echo]
    send = Transport(client.tokens, client.clock).sender(client.api)
    answers: dict[int, bytes] = {}

    def ask(number: int) -> Callable[[], None]:
        def run() -> None:
            answers[number] = send(Request("GET", f"/{number}")).body

        return run

    threads = [threading.Thread(target=ask(number)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: f"/{number}".encode() for number in range(40)}
