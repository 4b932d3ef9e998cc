"""Receipts as blob metadata: ASCII text under the names that the layout promises. Pure."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from shared.model import Receipt, Window
from shared.windows import format_instant, format_second, parse_instant

_T = TypeVar("_T")


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
        "repeated_ids": str(receipt.repeated_ids),
    }


def from_metadata(metadata: Mapping[str, str]) -> Receipt:
    """Read a receipt back. Raises ValueError, naming the key, when it is not one."""

    def read(key: str, convert: Callable[[str], _T]) -> _T:
        try:
            return convert(metadata[key])
        except (KeyError, ValueError) as error:
            found = repr(metadata[key]) if key in metadata else "nothing"
            raise ValueError(f"the blob's metadata is no receipt: {key} is {found}") from error

    return Receipt(
        window=Window(read("window_start", parse_instant), read("window_end", parse_instant)),
        rows=read("rows", int),
        sha256=read("sha256", str),
        revision=read("revision", int),
        attempt=read("attempt", str),
        config=read("config", str),
        source=read("source", str),
        first_time=read("first_time", str) or None,
        last_time=read("last_time", str) or None,
        slices=read("slices", int),
        requests=read("requests", int),
        answer_bytes=read("answer_bytes", int),
        exported_at=read("exported_at", parse_instant),
        app_version=read("app_version", str),
        repeated_ids=read("repeated_ids", int),
    )
