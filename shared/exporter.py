"""One window: source -> format -> staged blocks -> one conditional commit of rows and receipt."""

import contextlib
import hashlib
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence

from shared import VERSION
from shared.coverage import Stored, cell_of, covered, is_planned, measured, stored_near
from shared.errors import ConflictError, DeadlineError, ExportError
from shared.events import event
from shared.layout import blob_name
from shared.model import Clock, Container, Export, Format, Measured, Message, Receipt, Source, Window
from shared.receipts import to_metadata
from shared.state import State
from shared.windows import SECOND, overlap

_log = logging.getLogger(__name__)

BLOCK_BYTES = 8 << 20
DEADLINE_SECONDS = 540.0
"""How long one window may take: less than the functionTimeout in host.json, so that we end it ourselves."""


class Exporter:
    """Exports windows. Safe to run several times, and at the same time, for the same window."""

    def __init__(
        self,
        exports: Sequence[Export],
        open_source: Callable[[Export], Source],
        formats: Mapping[str, Format],
        data: Container,
        state: State,
        clock: Clock,
    ) -> None:
        self._exports = {export.name: export for export in exports}
        self._open_source = open_source
        self._formats = formats
        self._data = data
        self._state = state
        self._clock = clock

    def run(self, message: Message, attempt: int = 1) -> Receipt | None:
        """Export the window that a message orders; return its receipt, or None when nothing was stored here.

        An error that a retry can mend is raised, for the queue to deliver the message again. Any other is
        recorded, and the planner tries the window again later.
        """
        try:
            export = self._exports.get(message.export)
            if export is None or export.digest != message.config:
                _dropped(message, "its export is gone, paused, or configured otherwise")
                return None
            return self._run(export, message, attempt)
        except ExportError as error:
            event(_log, "window failed", message, level=logging.ERROR, attempt=attempt, error=error)
            if error.retryable:
                raise
            self._give_up(message, str(error))
            return None

    def give_up(self, message: Message) -> None:
        """Record that the queue delivered a message too often in vain; the log has the errors."""
        self._give_up(message, "every delivery of the queue message failed; the log has the errors")

    def _give_up(self, message: Message, error: str) -> None:
        try:
            failure = self._state.record_failure(message.export, message.window, message.config, error)
        except ConflictError:  # another worker recorded the same window's failure just now
            return
        pause = (failure.next_try - self._clock.now()) // SECOND
        event(
            _log,
            "window given up",
            message,
            level=logging.ERROR,
            times=failure.times,
            next_try_in=f"{pause}s",
        )

    def _run(self, export: Export, message: Message, attempt: int) -> Receipt | None:
        """Export the window if the planner would issue its message now, given what is stored."""
        window = message.window
        origin = self._state.origin(export).tick
        cell = cell_of(export, window.start)
        found = self._near(export, cell)
        stored = covered(found, cell)
        if window in stored:
            self._withdraw_if_overlapped(message, found)
            _dropped(message, "it is stored already")
            return None
        if not is_planned(export, window, stored, origin, self._clock.now()):
            _dropped(message, "it is not what would be planned now")
            return None
        return self._export(export, message, attempt, measured(found, window, export.digest))

    def _near(self, export: Export, span: Window) -> list[Stored]:
        """List what is stored in and near a span, with receipts."""
        longest = self._state.longest_window(export.name)
        return stored_near(self._data, export.name, span, longest, metadata=True)

    def _withdraw_if_overlapped(self, message: Message, found: Sequence[Stored]) -> bool:
        """Delete the message's stored window when another one overlaps it; return whether that was so.

        Two workers with configurations of different window lengths can only store overlapping windows when
        what is in flight was lost; whoever finds the other's makes way, so that no row stays twice, and
        what is then a gap is planned again.
        """
        window = message.window
        if not any(each.window != window and overlap(each.window, window) for each in found):
            return False
        for each in found:
            if each.window == window:
                with contextlib.suppress(ConflictError):  # it has been replaced since
                    self._data.delete(each.blob.name, etag=each.blob.etag)
        event(_log, "window withdrawn: another one overlaps it", message, level=logging.WARNING)
        return True

    def _export(
        self, export: Export, message: Message, attempt: int, size: Measured | None
    ) -> Receipt | None:
        began = self._clock.monotonic()
        deadline = began + DEADLINE_SECONDS
        format_ = self._formats[export.format]
        name = blob_name(export.name, message.window, format_.extension)
        self._state.register(export)
        staging = _Staging(self._data, name)
        writer = format_.writer()
        slices = requests = answer_bytes = 0
        for batch in self._open_source(export).read(message.window, deadline, size):
            staging.add(writer.write(batch))
            slices += batch.slices
            requests += batch.requests
            answer_bytes += batch.answer_bytes
            if self._clock.monotonic() > deadline:
                raise DeadlineError(
                    f"the window took more than {DEADLINE_SECONDS:.0f} s; give {export.name} a shorter window"
                )
        staging.add(writer.finish())
        receipt = Receipt(
            window=message.window,
            rows=writer.rows,
            sha256=staging.finish(),
            revision=1,
            attempt=staging.attempt,
            config=export.digest,
            source=export.source,
            first_time=writer.first_time,
            last_time=writer.last_time,
            slices=slices,
            requests=requests,
            answer_bytes=answer_bytes,
            exported_at=self._clock.now(),
            app_version=VERSION,
        )
        if not staging.commit(receipt, format_.content_type):
            event(_log, "window left to the worker that stored it first", message, attempt=attempt)
            return None
        if self._withdraw_if_overlapped(message, self._near(export, message.window)):
            return None
        seconds = f"{self._clock.monotonic() - began:.1f}"
        event(
            _log,
            "window exported",
            message,
            rows=receipt.rows,
            bytes=staging.size,
            seconds=seconds,
            attempt=attempt,
        )
        return receipt


def _dropped(message: Message, why: str) -> None:
    event(_log, "window dropped", message, why=why)


class _Staging:
    """Gathers a window's bytes into staged blocks, which one commit turns into the window's blob.

    Block ids carry the attempt's id and have one length, as the service demands of a blob's blocks.
    """

    def __init__(self, data: Container, name: str) -> None:
        self._data = data
        self._name = name
        self._held = bytearray()
        self._blocks: list[str] = []
        self._hash = hashlib.sha256()
        self.attempt = uuid.uuid4().hex
        self.size = 0

    def add(self, data: bytes) -> None:
        self._held += data
        while len(self._held) >= BLOCK_BYTES:
            self._stage(bytes(self._held[:BLOCK_BYTES]))
            del self._held[:BLOCK_BYTES]

    def finish(self) -> str:
        """Stage what is left; return the SHA-256 of all that was staged."""
        if self._held:
            self._stage(bytes(self._held))
            self._held.clear()
        return self._hash.hexdigest()

    def commit(self, receipt: Receipt, content_type: str) -> bool:
        """Make the blob appear, if there is none yet. Return False when another worker's is there already.

        Storage may commit and the answer be lost on its way: then the refusal of the repeated commit is
        ours to read, and the stored receipt tells whose blob it is.
        """
        try:
            self._data.commit(
                self._name, self._blocks, to_metadata(receipt), etag=None, content_type=content_type
            )
        except ConflictError:
            stored = self._data.head(self._name)
            if stored is None:  # refused because of another worker's blob, which is gone again
                raise
            return stored.metadata.get("attempt") == self.attempt
        return True

    def _stage(self, block: bytes) -> None:
        block_id = f"{self.attempt}-{len(self._blocks):05d}"
        self._data.stage(self._name, block_id, block)
        self._blocks.append(block_id)
        self._hash.update(block)
        self.size += len(block)
