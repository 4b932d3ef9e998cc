"""JSON goes through as it came, also where it holds what UTF-8 cannot."""

from __future__ import annotations

import json
import tracemalloc

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shared import rawjson

_pieces = st.sampled_from(["\\", '"', "\n", "\ud83d", "\ude00", "\U0001f600", "ud83d", "u", "é", "a"])


@given(st.lists(_pieces, max_size=12).map("".join), st.booleans())
def test_halves_of_surrogate_pairs_come_back(text: str, inside: bool) -> None:
    """Whatever stands around them, and also as JSON within a string of JSON."""
    written = json.dumps(json.dumps(text) if inside else text)
    decoded = rawjson.decode(written.encode(), str)
    assert json.loads(rawjson.restore(msgspec.json.encode(decoded))) == json.loads(written)


def test_one_half_costs_no_more_memory_than_the_text_is_long() -> None:
    """An answer of a million other escapes is copied, not gathered escape by escape."""
    data = b'["' + rb"{\"a\":\"b\"}" * 250_000 + rb'\ud83d"]'
    tracemalloc.start()
    rawjson.decode(data, list[msgspec.Raw])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(data)
