"""One request to one API: its token, its time limits, its retries, and the rule that a token never leaves.

The only module that imports requests.
"""

import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from io import BytesIO
from typing import Any, NoReturn, Protocol
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from shared import VERSION
from shared.clouds import Api
from shared.compression import gunzip
from shared.errors import DeadlineError, ForeignHostError, ServiceError, TransportError
from shared.model import Clock, Request, Response, Send
from shared.pacing import Pacer
from shared.service_errors import read_error, retry_after

_log = logging.getLogger(__name__)

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504, 509})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONNECT_SECONDS = 10.0
_PIECE = 1 << 18  # bytes
_SHORTEST_SECONDS = 0.1  # of waiting for a piece; the connection's next request is sent within the last one's
_GRACE_SECONDS = 30.0  # beyond the wait that the service was granted, for the answer to travel


class TokenSource(Protocol):
    """What transport needs of ``auth.Tokens``."""

    def token(self, scope: str) -> str:
        """Return a valid token."""

    def refused(self, scope: str, token: str) -> None:
        """Forget a token that was answered with 401."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to insist: ``attempts`` in all, none begun later than ``total`` seconds after the first.

    Between attempts lie random waits of up to ``base`` seconds, doubling, at most ``cap``; where the
    service says Retry-After, that long at least.
    """

    attempts: int = 6
    total: float = 180.0
    base: float = 1.0
    cap: float = 30.0


class Transport:
    """Sends requests over one pool of connections. Thread-safe."""

    def __init__(
        self,
        tokens: TokenSource,
        clock: Clock,
        pacer: Pacer | None = None,
        *,
        policy: RetryPolicy | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._tokens = tokens
        self._clock = clock
        self._pacer = pacer
        self._policy = policy or RetryPolicy()
        self._uniform = uniform
        self._session = _session()

    def sender(self, api: Api) -> Send:
        """Return the ``send`` of one API. The token goes to ``api.origin`` and nowhere else."""

        def send(request: Request) -> Response:
            return self._send(api, request)

        return send

    def _send(self, api: Api, request: Request) -> Response:
        url = _on_origin(api, request.target)
        began = self._clock.monotonic()
        renewed = False
        redirects = attempt = 0
        while True:
            attempt += 1
            token = self._tokens.token(api.scope)
            answer = self._paced(api, request, url, token)
            if isinstance(answer, Response):
                if answer.status < 300:
                    return answer
                if answer.status in _REDIRECTS and redirects < 3:
                    redirects += 1
                    attempt -= 1
                    url = _redirected(api, request, url, answer)
                    continue
                error: ServiceError | TransportError = _service_error(api, request, answer, self._clock)
                if answer.status == 401 and not renewed:
                    renewed = True
                    attempt -= 1
                    self._tokens.refused(api.scope, token)
                    continue
            else:
                error = answer
            self._wait_or_raise(request, error, attempt, began)

    def _wait_or_raise(
        self, request: Request, error: ServiceError | TransportError, attempt: int, began: float
    ) -> None:
        """Sleep before the next attempt, or raise when there is to be none."""
        policy = self._policy
        if not error.retryable or _is_final(request, error):
            raise error
        pause = self._uniform(0, min(policy.cap, policy.base * 2 ** (attempt - 1)))
        if isinstance(error, ServiceError) and error.retry_after is not None:
            pause += error.retry_after
        resumes = self._clock.monotonic() + pause
        late = request.deadline is not None and resumes >= request.deadline
        if attempt >= policy.attempts or resumes - began > policy.total or late:
            raise error
        _log.warning("attempt %d failed, the next one is in %.1f s: %s", attempt, pause, error)
        self._clock.sleep(pause)

    def _paced(self, api: Api, request: Request, url: str, token: str) -> Response | TransportError:
        """Send once, when it is the request's turn."""
        if request.pace is None or self._pacer is None:
            return self._once(api, request, url, token)
        self._pacer.wait(request.pace, request.deadline)
        try:
            return self._once(api, request, url, token)
        finally:
            self._pacer.answered(request.pace)

    def _once(self, api: Api, request: Request, url: str, token: str) -> Response | TransportError:
        """Send once. A failure that another attempt may mend is returned, any other raised."""
        patience = request.wait + _GRACE_SECONDS
        if request.deadline is not None:
            patience = min(patience, request.deadline - self._clock.monotonic())
            if patience <= 0:
                raise DeadlineError(f"no time was left to ask {api.name}; ask for a shorter time")
        try:
            with self._session.request(
                request.method,
                url,
                data=request.body,
                headers={"Accept": "application/json", **request.headers},
                auth=_Bearer(token),
                timeout=(min(_CONNECT_SECONDS, patience), patience),
                allow_redirects=False,
                stream=True,
            ) as answer:
                body = self._body(api, answer, request.deadline, patience)
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                _refuse_certificate(api, error)
            return _broken(api, error)
        except (
            requests.exceptions.ConnectionError,  # refused, reset, no such host
            requests.exceptions.Timeout,
            urllib3.exceptions.HTTPError,  # the body, or its compressed form, broke off
        ) as error:
            if request.deadline is not None and self._clock.monotonic() >= request.deadline:
                raise DeadlineError(f"{api.name} had not answered in time") from error
            return _broken(api, error)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status_code, headers, body)

    def _body(self, api: Api, answer: requests.Response, deadline: float | None, patience: float) -> bytes:
        """Read the body as it comes, so that one that only drips, or stalls, ends at the deadline.

        ``patience`` is how long (seconds) a piece of it is waited for at most.
        """
        body = BytesIO()  # whose value is no copy

        def bound() -> None:
            if deadline is None:
                return
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise DeadlineError(f"the answer of {api.name} was not whole in time")
            _wait_at_most(answer, min(patience, left))

        for piece in _content(answer, bound):
            body.write(piece)
        return body.getvalue()


class _Bearer(requests.auth.AuthBase):
    """Sets the token as requests' own authentication, or a .netrc file would replace it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        prepared.headers["Authorization"] = f"Bearer {self._token}"
        return prepared


class _Session(requests.Session):
    """A session that leaves redirects to us, unread: requests stumbles over addresses that are none."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        return None


def _content(answer: requests.Response, before: Callable[[], None]) -> Iterator[bytes]:
    """Yield an answer's content; ``before`` is called before each piece of it is waited for.

    What urllib3 would take long to undo is undone here.
    """
    packed = answer.headers.get("Content-Encoding", "").strip().lower() == "gzip"

    def piece() -> bytes:
        before()
        read: bytes = answer.raw.read1(_PIECE, decode_content=not packed)
        return read

    pieces = iter(piece, b"")
    try:
        yield from gunzip(pieces) if packed else pieces
    except ValueError as error:
        raise urllib3.exceptions.DecodeError(f"the body broke off: {error}") from error


def _wait_at_most(answer: requests.Response, seconds: float) -> None:
    """Bound how long the next piece of an answer may take, whose socket was given its time with the request.

    An answer that has been read whole has let go of its socket, and there is nothing to wait for.
    """
    body: Any = answer.raw  # neither urllib3 nor http.client has a method for this
    if body._fp.fp is not None:
        body._fp.fp.raw._sock.settimeout(max(seconds, _SHORTEST_SECONDS))


def _session() -> requests.Session:
    session = _Session()
    session.mount("https://", HTTPAdapter(pool_connections=4, pool_maxsize=16, max_retries=0))
    session.headers["Accept-Encoding"] = "gzip"
    session.headers["User-Agent"] = f"azure-log-exports/{VERSION}"
    # Threads share the session; without cookies it holds no state between requests.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _on_origin(api: Api, target: str, base: str | None = None) -> str:
    """Return the URL of a target, which must lie on the API's origin. Raises ForeignHostError."""
    shown = "an address that cannot be read"
    try:
        url = urljoin(base or f"{api.origin}/", target)
        parts = urlsplit(url)
        shown = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        foreign = _origin(url) != _origin(api.origin) or "@" in parts.netloc
    except ValueError:
        url, foreign = "", True
    if foreign:
        raise ForeignHostError(
            f"{api.name} pointed to {shown}, or a user there; that is not {api.origin}, and its token must "
            "not go there, so the request was not sent"
        )
    return url


def _redirected(api: Api, request: Request, url: str, answer: Response) -> str:
    location = answer.headers.get("location", "")
    if request.method != "GET" and answer.status not in {307, 308}:
        shown = location.partition("?")[0].rpartition("@")[2]  # without a query's or a user's secrets
        raise ServiceError(
            api.name,
            status=answer.status,
            code="UnexpectedRedirect",
            message=f"a {request.method} was redirected to {shown!r}; check the endpoint setting",
            request_id=None,
            retryable=False,
        )
    return _on_origin(api, location, url)


def _is_final(request: Request, error: ServiceError | TransportError) -> bool:
    """Whether a failure that may pass is not to be met by another attempt at the same request."""
    if isinstance(error, ServiceError) and error.status in request.final:
        return True
    refused = isinstance(error, ServiceError) and error.status == 429  # any other may have done its work
    return request.once and not refused


def _service_error(api: Api, request: Request, answer: Response, clock: Clock) -> ServiceError:
    code, message, request_id = read_error(api.name, answer.status, answer.headers, answer.body)
    doubtful = any(part in f"{code} {message}" for part in request.doubtful)
    return ServiceError(
        api.name,
        status=answer.status,
        code=code,
        message=message,
        request_id=request_id,
        retryable=answer.status in _TRANSIENT or doubtful,
        retry_after=retry_after(answer.headers, clock.now()),
    )


def _broken(api: Api, error: Exception) -> TransportError:
    return TransportError(f"{api.name} at {api.origin} could not be reached or broke off: {_reason(error)}")


def _refuse_certificate(api: Api, error: Exception) -> NoReturn:
    failure = TransportError(
        f"the certificate of {api.origin} is not trusted ({_reason(error)}); for a private authority set "
        "REQUESTS_CA_BUNDLE to its certificate file"
    )
    failure.retryable = False
    raise failure from error


def _reason(error: Exception) -> str:
    """Return the innermost cause: urllib3 wraps it several times, and its texts hold whole URLs."""
    cause: Any = error
    while True:
        inner = getattr(cause, "reason", None) or (cause.args[0] if getattr(cause, "args", None) else None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return f"{type(cause).__name__}: {str(cause).split(' (Caused by')[0][:200]}"
