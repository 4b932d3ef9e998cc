"""Files are read in pieces: what is found does not depend on where these end, and little is in memory."""

from __future__ import annotations

import gzip
import re
import tracemalloc
from collections.abc import Callable

import msgspec
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from shared import compression
from shared.formats import FORMATS
from shared.model import Batch
from tests.unit.answers import written

MIB = 1 << 20
PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, "gz": gzip.compress, "zst": zstd.compress}
FILES = [f"{kind}{ending}" for kind in ("jsonl", "csv") for ending in ("", ".gz")] + ["jsonl.zst"]


def packed(format_: str, *parts: bytes) -> bytes:
    """Return parts of a file as a format has them, each a member or frame of its own."""
    return b"".join(map(PACKED[format_.partition(".")[2]], parts))


def said(find: Callable[[], object]) -> object:
    """Return what is found, or what the error says."""
    try:
        return find()
    except ValueError as error:
        return str(error)


def counted_whole(kind: str, text: bytes) -> int:
    """Count the rows of a text that is there as a whole. Raises ValueError for one that does not end."""
    if kind == "csv":
        text = re.sub(rb'"[^"]*"', b"", text)
        if not text.endswith(b"\r\n") or b'"' in text:
            raise ValueError("the file's last line does not end")
        return text.count(b"\r\n") - 1
    if text and not text.endswith(b"\n"):
        raise ValueError("the file's last line does not end")
    return text.count(b"\n")


@pytest.mark.parametrize("format_", FILES)
@given(
    parts=st.lists(st.text('"\r\n,a', max_size=12).map(str.encode), min_size=1, max_size=3),
    ended=st.booleans(),
    size=st.integers(1, 9),
)
def test_rows_count_the_same_wherever_a_piece_ends(
    format_: str, parts: list[bytes], ended: bool, size: int
) -> None:
    """Within a quoted field, between CR and LF, and where one member of a stream ends and another begins."""
    parts = [*parts, b"\r\n"] if ended else parts
    data = packed(format_, *parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "_READ", size)
        found = said(lambda: FORMATS[format_].count(data))
    assert found == said(lambda: counted_whole(format_.partition(".")[0], b"".join(parts)))


@pytest.mark.parametrize("format_", ["jsonl.gz", "csv.gz", "jsonl.zst"])
@given(rest=st.integers(1, 40), flipped=st.booleans(), size=st.integers(1, 99))
def test_damage_is_seen_wherever_a_piece_ends(format_: str, rest: int, flipped: bool, size: int) -> None:
    """A stream that is cut off and one whose checksum is another are refused, also after their last row."""
    name = "Zstandard" if format_.endswith("zst") else "gzip"
    whole = packed(format_, b'"a"\r\n' * 40)
    data = bytearray(whole + (gzip.compress(b'"b"\r\n') if name == "gzip" else zstd.compress(b'"b"\r\n')))
    if flipped and name == "gzip":
        data[len(whole) - 8] ^= 1
    else:
        del data[-min(rest, len(data) - len(whole) - 1) :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "_READ", size)
        with pytest.raises(ValueError, match=f"no whole {name} stream"):
            FORMATS[format_].count(bytes(data))


@pytest.mark.parametrize("format_", FILES)
def test_counting_a_file_takes_little_memory(format_: str) -> None:
    """Far less than what is in it, however well it was compressed."""
    line = b'{"n":"%b"},1\r\n' % (b"x" * 1000)
    data = packed(format_, line * 8000, line * 8000)
    tracemalloc.start()
    try:
        rows = FORMATS[format_].count(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == 16_000 - format_.startswith("csv")
    assert peak < 2 * MIB


@pytest.mark.parametrize("format_", ["jsonl", "jsonl.gz", "csv", "csv.gz"])
@given(
    text=st.lists(st.sampled_from(['"record"', "n", '"', '""', ",", "\r\n", "\n", "\r", "a"]), max_size=12),
    header=st.booleans(),
    size=st.integers(1, 9),
)
def test_records_read_the_same_wherever_a_piece_ends(
    format_: str, text: list[str], header: bool, size: int
) -> None:
    """What is in them, and what is said of a file that has none: also in bytes that no writer wrote."""
    data = packed(format_, ('"n","record"\r\n' * header + "".join(text)).encode())
    whole = said(lambda: [bytes(each) for each in FORMATS[format_].records(data)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "_READ", size)
        assert said(lambda: [bytes(each) for each in FORMATS[format_].records(data)]) == whole


@pytest.mark.parametrize("format_", ["jsonl.gz", "csv.gz", "jsonl.zst", "parquet"])
@given(
    texts=st.lists(st.text('"\\\r\n,aé', max_size=9), max_size=9),
    size=st.integers(1, 99),
)
def test_records_come_back_wherever_a_piece_ends(format_: str, texts: list[str], size: int) -> None:
    """Line by line as JSON lines have them, also with quotes, commas and escapes across two pieces."""
    records = [msgspec.json.encode({"id": text}) for text in texts]
    data = written(FORMATS[format_].writer(), Batch([msgspec.Raw(record) for record in records]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "_READ", size)
        assert [bytes(each) for each in FORMATS[format_].records(data)] == records
