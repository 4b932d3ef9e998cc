"""The values that pass between stages, all frozen, and the protocols that join the parts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

Kind = Literal["log_analytics", "entra"]
"""Which of the two timers plans an export, and whose budget of windows in flight it draws from."""

KINDS: tuple[Kind, ...] = ("log_analytics", "entra")

Reason = Literal["schedule", "backfill", "recheck"]


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A half-open interval ``[start, end)`` in ticks of 100 ns since 0001-01-01T00:00:00Z."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"a window must begin at tick 0 or later and end after it begins: {self}")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a tabular answer; ``type`` is Kusto's name of its type (``datetime``, ``dynamic``, …)."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one answer, undecoded, so that every digit stays as the service sent it.

    ``columns`` describes tabular rows, each a JSON array; it is None where each row is a whole JSON object.
    ``times`` are the row times as the service wrote them, where the source reads them anyway; for tabular
    rows a writer takes them from the column named ``TimeGenerated``. ``slices`` and ``requests`` count what
    the batch took; the pages of one walk are requests of one slice. ``repeated_ids`` counts records that have
    the id of another but not its content. ``served_at`` is the service's own time
    (ticks) when it answered, where it says. ``page`` is the body of the page that the rows came on, as it
    came, from a source that pages. ``total`` is how many rows the whole window has, where the service said so
    before they are read. ``statistics`` is the service's own account of the work, as JSON, and
    ``request_id`` what it calls the request, where it says.
    """

    rows: Sequence[msgspec.Raw]
    columns: tuple[Column, ...] | None = None
    times: Sequence[str] = ()
    slices: int = 1
    requests: int = 1
    answer_bytes: int = 0
    repeated_ids: int = 0
    served_at: int | None = None
    page: bytes | None = None
    total: int | None = None
    statistics: msgspec.Raw | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """One entry of the exports file, checked. Durations are in ticks.

    ``start`` is where the first run begins: an instant in ticks, or, negative, ticks before that first run.
    ``recheck`` are the ages at which a window is compared with its source again; ``retention`` how long the
    source keeps rows, where the source does not say so itself; ``keep`` how long stored windows are missed
    when they are gone (None: for ever). ``config`` is the canonical JSON of all that
    decides what is stored; ``digest`` names it. ``columns`` are those that a file with columns has of the
    source's records, which bring none themselves.
    """

    name: str
    source: str
    kind: Kind
    options: msgspec.Struct
    window: int
    offset: int
    lag: int
    start: int
    recheck: tuple[int, ...]
    retention: int | None
    keep: int | None
    format: str
    identity: Mapping[str, str]
    config: bytes
    digest: str
    columns: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One queue message: the order to export one window with the configuration that ``config`` names."""

    export: str
    window: Window
    reason: Reason
    config: str
    id: str


@dataclass(frozen=True, slots=True)
class Measured:
    """How much an export's windows hold: rows, and bytes of answer, for each tick."""

    rows: float
    answer_bytes: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was stored for a window, and the proof of it. It is the metadata of the window's own blob.

    ``sha256`` is of the stored bytes, ``attempt`` the id of the attempt that committed them, ``config`` the
    digest of the configuration, ``first_time`` and ``last_time`` the earliest and latest row time (None
    where the rows carry none), ``slices`` and ``requests`` what the source was asked, ``answer_bytes`` the
    size of its answers without the wire's compression, ``exported_at`` when reading began (ticks), and
    ``repeated_ids`` how many records have the id of another but not its content.
    """

    window: Window
    rows: int
    sha256: str
    revision: int
    attempt: str
    config: str
    source: str
    first_time: str | None
    last_time: str | None
    slices: int
    requests: int
    answer_bytes: int
    exported_at: int
    app_version: str
    repeated_ids: int = 0

    @property
    def measured(self) -> Measured:
        """How much the window held when it was stored."""
        ticks = self.window.end - self.window.start
        return Measured(self.rows / ticks, self.answer_bytes / ticks)


@dataclass(frozen=True, slots=True)
class Reading:
    """What is asked of a source: a window's rows, by when (``deadline``, on the clock's ``monotonic``).

    ``measured`` is how much the export's windows near this one held, or this one when it was stored, where
    that is known. ``wide`` also finds rows outside the bounds that a first reading sets itself to spare the
    service a scan. ``since`` (ticks) is when this reading became due: what a service prepared for an earlier
    one is not an answer to it.
    """

    window: Window
    deadline: float
    measured: Measured | None = None
    wide: bool = False
    since: int = 0


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored blob as a listing or a HEAD shows it; ``size`` in bytes."""

    name: str
    etag: str
    size: int
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """A small blob read whole."""

    data: bytes
    etag: str


Pace = Literal["graph_reports", "graph_identity_protection"]
"""A rate limit of a service that the client keeps by itself."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to an API.

    ``target`` is a path with its query on the API's origin, or an absolute URL there (a next link).
    ``wait`` is how long, in seconds, the service may take before its first byte. ``deadline``, on the
    clock's ``monotonic``, ends all attempts. ``final`` lists statuses that are not repeated here although
    they are transient elsewhere, and ``doubtful`` parts of error codes and messages whose refusals are
    repeated, because they are seen to pass. ``pace`` names the rate limit that the request counts against.
    ``once`` says that the request must not be repeated when it may have been carried out.
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    target: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 60.0
    deadline: float | None = None
    final: frozenset[int] = frozenset()
    doubtful: tuple[str, ...] = ()
    pace: Pace | None = None
    once: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """One whole answer. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Send(Protocol):
    """Sends a request to one API, with its token, retrying what a retry can help.

    Returns only answers below 400. Raises ServiceError, TransportError, CredentialError,
    ForeignHostError or DeadlineError.
    """

    def __call__(self, request: Request, /) -> Response:
        """Send the request and return the answer."""


ApiName = Literal["log_analytics", "graph", "arm", "aad_graph"]
Connect = Callable[[ApiName], Send]
"""Gives the ``send`` of one of the cloud's APIs."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a source is given to work with.

    ``pool`` runs parallel requests; ``parallel`` and ``answer_bytes`` bound how many answers, and of what
    size, are held in memory. ``documents`` is the state container, for what a source must remember beyond
    one attempt.
    """

    connect: Connect
    pool: Executor
    parallel: int
    answer_bytes: int
    clock: "Clock"
    documents: "Container"


class Source(Protocol):
    """Something that windows are read from."""

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield every row of the window once, in one or more batches; give up at the deadline.

        Repeatable. Raises ExportError when the answer is not known to be complete: what was yielded before
        must then be thrown away; UnavailableError for time that the source no longer holds, NotReadyError
        while the service is still preparing the answer, DeniedError or NotGrantedError where none is given.
        """

    def count(self, windows: Sequence[Window], deadline: float) -> list[int]:
        """Return how many rows the source holds for each window, as widely as it can look.

        Raises DeadlineError, which says how many of the windows were counted.
        """

    def release(self, reading: Reading) -> None:
        """Take back what the service keeps for a reading, whose rows are stored by now."""


@dataclass(frozen=True, slots=True)
class SourceType:
    """What the registry knows of a source.

    ``forgets`` says that the source drops rows after days, so that the oldest windows are in danger;
    ``union`` that a window that is read again is added to, record by record, because records may change;
    ``retention`` how long it keeps rows where an export does not say, None where it says so itself, and
    ``retention_of`` the same where that depends on the options;
    ``recheck`` are the ages at which windows are compared with it again where an export does not say, and
    ``countable`` says that it can tell how many rows a window has without being read as for an export;
    where it cannot, windows are neither compared nor rechecked. ``paged`` says that it answers in pages, and
    ``columns`` which columns a file with columns has of its records, where its rows are whole records.
    ``check`` yields ``(key, found, expected)`` for each mistake in the options; ``identity`` says which data
    an export reads, and raises ValueError with what to set when that is not known.
    """

    kind: Kind
    forgets: bool
    union: bool
    retention: str | None
    options: type[msgspec.Struct]
    check: Callable[[msgspec.Struct], Iterable[tuple[str, str, str]]]
    identity: Callable[[msgspec.Struct, str | None], Mapping[str, str]]
    open: Callable[[msgspec.Struct, Tools], Source]
    recheck: tuple[str, ...] = ("1h", "24h")
    countable: bool = True
    paged: bool = False
    retention_of: Callable[[msgspec.Struct], str | None] = lambda _: None
    columns: Callable[[msgspec.Struct], tuple[Column, ...]] = lambda _: ()


class Container(Protocol):
    """One blob container. Every method raises StorageError when storage fails for good."""

    def head(self, name: str) -> Blob | None:
        """Return the blob's properties, or None where there is none."""

    def list(self, prefix: str, *, metadata: bool = False) -> Iterator[Blob]:
        """Yield the committed blobs whose names begin with a prefix, in name order."""

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names that ``list`` finds: the same calls, a tenth of the work."""

    def stage(self, name: str, block: str, data: bytes) -> None:
        """Upload one block. Nothing is visible until a commit names it."""

    def commit(
        self,
        name: str,
        blocks: Sequence[str],
        metadata: Mapping[str, str],
        *,
        etag: str | None,
        content_type: str,
    ) -> str:
        """Make blocks and metadata the blob, at once, if its ETag is still ``etag`` (None: if there is none).

        Returns the new ETag. Raises ConflictError when somebody else wrote first.
        """

    def read(self, name: str) -> Document | None:
        """Return a small blob, or None where there is none."""

    def write(
        self, name: str, data: bytes, *, etag: str | None, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write a small blob if its ETag is still ``etag`` (None: if there is none). Raises ConflictError."""

    def delete(self, name: str, *, etag: str | None = None) -> None:
        """Delete a blob, where ``etag`` is given only if it is still that; one that is gone is no error."""


class LinkingContainer(Container, Protocol):
    """A blob container that can lend a blob to whoever has a link."""

    def link(
        self, name: str, seconds: int, *, content_type: str, content_encoding: str, file_name: str
    ) -> str:
        """Return a URL that reads one blob, and nothing else, for so many seconds from now.

        Who follows it is told the type, the encoding ("" for none) and the name that are given here. Raises
        StorageError where the app may not make links.
        """


class Clock(Protocol):
    """Time, so that tests can pass their own."""

    def now(self) -> int:
        """Return the present in ticks, UTC."""

    def monotonic(self) -> float:
        """Return seconds that only grow."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
