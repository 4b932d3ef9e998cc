"""Which form an answer has: by its name, or by what the caller accepts (RFC 9110)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.query_formats import FORMATS, accepted, accepts_gzip, named

NDJSON, PARQUET = "application/x-ndjson", "application/vnd.apache.parquet"
TYPES = ["application/json", NDJSON, "text/csv", PARQUET]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *((each, each) for each in FORMATS),
        ("application/json", "json"),
        ("Application/JSON ; charset=utf-8", "json"),
        (NDJSON, "ndjson"),
        ("text/csv", "csv"),
        (PARQUET, "parquet"),
        ("JSON", None),
        ("application/*", None),
        ("", None),
    ],
)
def test_a_form_is_named(text: str, name: str | None) -> None:
    """By its own name as it is written, or by its media type in any case, with any parameters."""
    assert named(text) == name


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        ("", "json"),
        (" ", "json"),
        ("*/*", "json"),
        ("application/*", "json"),
        ("text/*", "csv"),
        ("text/csv", "csv"),
        ("TEXT/CSV;header=present", "csv"),
        (NDJSON, "ndjson"),
        (PARQUET, "parquet"),
        ("text/csv, application/json", "json"),
        ("text/csv, application/json;q=0.9", "csv"),
        (f"application/json;q=0.5,{NDJSON};q=0.501", "ndjson"),
        ("application/json;q=0, */*", "ndjson"),
        ("application/json;q=0, */*;q=0.1, text/*;q=0.2", "csv"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),
        ("text/csv; q=1.000 , */*;q=0", "csv"),
        ("text/html", None),
        ("application/json;q=0", None),
        ("application/json;q=0.000", None),
        ("*/*;q=0", None),
        ("text/csv;q=much", None),
        ("text/csv;q=nan", None),
        (f"{PARQUET};q=nan", None),
        ("text/csv;q=inf", None),
        ("text/csv;q=-1", None),
        ("text/csv;q=1.5", None),
        (",", None),
    ],
)
def test_what_is_accepted(accept: str, name: str | None) -> None:
    """The form that is liked best, by the range that fits it most closely; JSON where nothing is said."""
    assert accepted(accept) == name


_qualities = st.integers(0, 1000)
_ranges = st.dictionaries(
    st.sampled_from([*TYPES, "application/*", "text/*", "*/*", "text/html"]), _qualities
)


@given(_ranges)
def test_the_best_is_chosen(ranges: dict[str, int]) -> None:
    """Nothing that is accepted is liked better than what is chosen, and nothing that is refused is chosen."""
    header = ", ".join(f"{range_};q={quality / 1000:.3f}" for range_, quality in ranges.items())
    liked = [
        ranges.get(type_, ranges.get(type_.split("/")[0] + "/*", ranges.get("*/*", 0))) for type_ in TYPES
    ]
    name = accepted(header)
    if not ranges:
        assert name == "json"
    elif not max(liked):
        assert name is None
    else:
        assert name is not None
        assert FORMATS[name].media_type == TYPES[liked.index(max(liked))]


_header = st.text() | st.lists(
    st.sampled_from(
        [*TYPES, "gzip", "*", "*/*", ";", ",", "q=", "=", " ", "0", "1", ".", "nan", "-", "9" * 400]
    )
).map("".join)


@given(_header)
def test_no_header_is_too_odd(header: str) -> None:
    """Whatever is sent is some form, or none."""
    assert accepted(header) in {*FORMATS, None}
    assert accepts_gzip(header) in {True, False}


@pytest.mark.parametrize(
    ("header", "yes"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("br, gzip;q=0.1", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0, *", False),
        ("*", True),
        ("*;q=0", False),
        ("*;q=0, gzip", True),
        ("identity", False),
        ("deflate, br, zstd", False),
        ("gzip;q=nan", False),
    ],
)
def test_gzip_is_sent_to_those_who_take_it(header: str, yes: bool) -> None:
    """Said by its name or by ``*``, and not with the quality 0."""
    assert accepts_gzip(header) is yes


@pytest.mark.parametrize("name", FORMATS)
def test_a_large_answer_is_the_same_compressed(name: str) -> None:
    """What is stored is the plain form in gzip, which HTTP can undo; or the form itself, which is compact."""
    form = FORMATS[name]  # type: ignore[index]  # one of its own keys
    assert form.plain.content_type.partition(";")[0] == form.media_type
    if form.encoding:
        assert form.encoding == "gzip"
        assert form.stored.extension == f"{form.plain.extension}.gz"
        assert form.stored.content_type == "application/gzip"
    else:
        assert (form.stored.extension, form.stored.content_type) == (form.plain.extension, form.media_type)
