"""Receipts as blob metadata: ASCII text under the names that the layout promises. Pure."""

from collections.abc import Mapping

from shared.model import Receipt, Window
from shared.windows import format_instant, format_second, parse_instant


def to_metadata(receipt: Receipt) -> dict[str, str]:
    """Return a receipt as blob metadata."""
    return {
        "window_start": format_second(receipt.window.start),
        "window_end": format_second(receipt.window.end),
        "rows": str(receipt.rows),
        "sha256": receipt.sha256,
        "revision": str(receipt.revision),
        "attempt": receipt.attempt,
        "config": receipt.config,
        "source": receipt.source,
        "first_time": receipt.first_time or "",
        "last_time": receipt.last_time or "",
        "slices": str(receipt.slices),
        "requests": str(receipt.requests),
        "answer_bytes": str(receipt.answer_bytes),
        "exported_at": format_instant(receipt.exported_at),
        "app_version": receipt.app_version,
    }


def from_metadata(metadata: Mapping[str, str]) -> Receipt:
    """Read a receipt back. Raises ValueError, naming the key, when it is not one."""
    try:
        return Receipt(
            window=Window(parse_instant(metadata["window_start"]), parse_instant(metadata["window_end"])),
            rows=int(metadata["rows"]),
            sha256=metadata["sha256"],
            revision=int(metadata["revision"]),
            attempt=metadata["attempt"],
            config=metadata["config"],
            source=metadata["source"],
            first_time=metadata["first_time"] or None,
            last_time=metadata["last_time"] or None,
            slices=int(metadata["slices"]),
            requests=int(metadata["requests"]),
            answer_bytes=int(metadata["answer_bytes"]),
            exported_at=parse_instant(metadata["exported_at"]),
            app_version=metadata["app_version"],
        )
    except KeyError as error:
        raise ValueError(f"the blob's metadata has no {error.args[0]!r}: it is not a receipt") from error
