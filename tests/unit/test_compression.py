"""Compressed files: what goes in comes out, the same bytes every time, and damage is seen."""

from __future__ import annotations

import gzip
import itertools

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.compression import Compression, Stream, decompress
from shared.formats import FORMATS
from shared.model import Column
from tests.unit.answers import batch, wire, written

TEXT = b"".join(b'{"n":%d}\n' % (number * number) for number in range(200_000))
COMPRESSIONS: list[Compression] = ["", "gz", "zst"]


def packed(compression: Compression, *edges: int) -> bytes:
    """Compress the text, divided at some places."""
    stream = Stream(compression)
    places = [0, *sorted(edges), len(TEXT)]
    return b"".join(stream.write(TEXT[a:b]) for a, b in itertools.pairwise(places)) + stream.finish()


@pytest.mark.parametrize("compression", COMPRESSIONS)
@given(edges=st.sets(st.integers(0, len(TEXT)), max_size=5))
@settings(max_examples=15, deadline=None)
def test_the_same_bytes_in_give_the_same_bytes_out(compression: Compression, edges: set[int]) -> None:
    """However they are divided."""
    assert packed(compression, *edges) == packed(compression)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_goes_in_comes_out(compression: Compression) -> None:
    """Also when it is nothing."""
    assert decompress(packed(compression), compression) == TEXT
    assert decompress(Stream(compression).finish(), compression) == b""


def test_other_readers_read_it() -> None:
    """The standard library's for gzip, and for Zstandard the one that Python has from 3.14 on."""
    assert gzip.decompress(packed("gz")) == TEXT
    assert zstd.decompress(packed("zst")) == TEXT
    assert len(packed("zst")) < len(TEXT) / 2


@pytest.mark.parametrize("compression", ["gz", "zst"])
@pytest.mark.parametrize("damage", ["nothing", "torn", "flipped", "other"])
def test_damage_is_seen(compression: Compression, damage: str) -> None:
    """A file that is cut off, that has another bit, or that is something else."""
    data = bytearray(packed(compression))
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    broken = {"nothing": b"", "torn": data[:-3], "flipped": data, "other": b"other"}[damage]
    if (compression, damage) == ("gz", "nothing"):
        return  # Python takes nothing for a gzip file of nothing; the receipt's hash does not
    with pytest.raises(ValueError, match="stream"):
        decompress(bytes(broken), compression)


def test_lines_are_the_same_in_each_compression() -> None:
    """Only the packing differs."""
    rows = batch([Column("t", "string")], [[wire(f"ä{number}", False)] for number in range(1000)])
    plain = written(FORMATS["jsonl"].writer(), rows)
    for compression in ("gz", "zst"):
        format_ = FORMATS[f"jsonl.{compression}"]
        data = written(format_.writer(), rows)
        assert decompress(data, compression) == plain
        assert format_.count(data) == 1000
        assert format_.extension == f"jsonl.{compression}"
        assert bytes(list(format_.records(data))[7]) == b'{"t":"\xc3\xa47"}'
