"""Where each export begins, whose data it holds, and with which configurations. Written create-only."""

import contextlib
import uuid
from collections.abc import Mapping

import msgspec

from shared import VERSION, rawjson
from shared.errors import ConflictError, OriginError, ProtocolError
from shared.listing import Lengths
from shared.model import Clock, Container, Export
from shared.windows import SECOND, format_instant, format_second, parse_instant


class Origin(msgspec.Struct, frozen=True):
    """Where an export begins and whose data its name belongs to."""

    id: str
    start: str
    identity: dict[str, str]
    created_at: str
    app_version: str

    @property
    def tick(self) -> int:
        """The start in ticks."""
        return parse_instant(self.start)


class State:
    """Reads and writes origins and configurations. Thread-safe."""

    def __init__(self, container: Container, clock: Clock) -> None:
        self._container = container
        self._clock = clock
        self._origins: dict[str, Origin] = {}
        self._registered: set[tuple[str, str]] = set()

    def origin(self, export: Export) -> Origin:
        """Return where an export begins and whose data it is; the first call ever writes it.

        Raises OriginError when the name belongs to other data.
        """
        origin = self._origins.get(export.name)
        if origin is None:
            origin = self._origins[export.name] = self._read_or_create_origin(export)
        if origin.identity != dict(export.identity):
            raise OriginError(
                f"the export {export.name!r} reads {_listed(export.identity)}, but its name belongs to "
                f"{_listed(origin.identity)} since {origin.created_at}; give the new data a name of its own"
            )
        return origin

    def _read_or_create_origin(self, export: Export) -> Origin:
        name = f"{export.name}/origin.json"
        now = self._clock.now()
        start = export.start if export.start >= 0 else max(0, now + export.start) // SECOND * SECOND
        mine = Origin(
            uuid.uuid4().hex, format_second(start), dict(export.identity), format_instant(now), VERSION
        )
        document = self._container.read(name)
        if document is None:
            try:
                self._container.write(name, msgspec.json.encode(mine), etag=None)
            except ConflictError:  # another worker was quicker; its origin counts
                document = self._container.read(name)
            else:
                return mine
        if document is None:
            raise ConflictError(f"{name} appeared and vanished; trying again")
        try:
            return rawjson.decode(document.data, Origin)
        except rawjson.UNREADABLE as error:
            raise ProtocolError(f"the stored document {name} cannot be read: {error}") from error

    def register(self, export: Export) -> None:
        """Keep an export's configuration under its digest, before the first window is stored with it."""
        key = (export.name, export.digest)
        if key in self._registered:
            return
        with contextlib.suppress(ConflictError):  # kept already
            self._container.write(
                f"{export.name}/configs/{export.digest}.json",
                export.config,
                etag=None,
                metadata={"window_seconds": str(export.window // SECOND)},
            )
        self._registered.add(key)

    def lengths(self, export: str) -> Lengths:
        """Return how long an export's windows ever were, by its configurations; 0 where it has none yet."""
        configs = self._container.list(f"{export}/configs/", metadata=True)
        lengths = [int(blob.metadata["window_seconds"]) * SECOND for blob in configs]
        return Lengths(min(lengths, default=0), max(lengths, default=0))

    def config(self, export: str, digest: str) -> bytes | None:
        """Return the configuration that windows were stored with under a digest."""
        document = self._container.read(f"{export}/configs/{digest}.json")
        return None if document is None else document.data


def _listed(identity: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(identity.items()))
