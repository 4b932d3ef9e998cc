"""Receipts as blob metadata."""

from __future__ import annotations

import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from shared.model import Receipt
from shared.receipts import from_metadata, to_metadata
from tests.unit.strategies import receipts

NAMES = [
    "window_start", "window_end", "rows", "sha256", "revision", "attempt", "config", "source",
    "first_time", "last_time", "slices", "requests", "answer_bytes", "exported_at", "app_version",
    "repeated_ids",
]  # fmt: skip
CHECKED = [
    "window_start",
    "window_end",
    "rows",
    "revision",
    "slices",
    "requests",
    "answer_bytes",
    "exported_at",
]


@given(receipts)
def test_a_receipt_survives_storage(receipt: Receipt) -> None:
    """What is read back is what was stored, under the documented names, in what a header can carry."""
    metadata = to_metadata(receipt)
    assert from_metadata(metadata) == receipt
    assert list(metadata) == NAMES
    assert all(value.isascii() and value.isprintable() for value in metadata.values())


@given(receipts, st.sampled_from(NAMES))
def test_a_missing_key_is_named(receipt: Receipt, key: str) -> None:
    """Metadata that is no receipt is refused with the key that is missing."""
    metadata = to_metadata(receipt)
    del metadata[key]
    with pytest.raises(ValueError, match=key):
        from_metadata(metadata)


@pytest.mark.parametrize("key", CHECKED)
def test_a_damaged_value_is_named(key: str) -> None:
    """A value that cannot be read is refused with its key, so that one knows where to look."""
    metadata = to_metadata(find(receipts, lambda _: True)) | {key: "damaged"}
    with pytest.raises(ValueError, match=key):
        from_metadata(metadata)
