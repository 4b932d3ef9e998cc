"""What a query's answer can be: which forms there are, and which of them a caller accepts. Pure.

Source: RFC 9110, "Content Negotiation".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shared.file_format import Format
from shared.formats.delimited import Csv
from shared.formats.json_document import JsonDocument
from shared.formats.jsonl import JsonLines
from shared.formats.parquet import Parquet

FormatName = Literal["json", "ndjson", "csv", "csv-guarded", "parquet"]

_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """A form of an answer: ``plain`` as it goes over HTTP, ``stored`` as a large one is kept.

    ``encoding`` is how ``stored`` is coded beside ``plain``: ``gzip``, or nothing where the form itself is
    compact.
    """

    media_type: str
    plain: Format
    stored: Format
    encoding: str = "gzip"


FORMATS: Mapping[FormatName, AnswerFormat] = {
    "json": AnswerFormat("application/json", JsonDocument(""), JsonDocument("gz")),
    "ndjson": AnswerFormat("application/x-ndjson", JsonLines(""), JsonLines("gz")),
    "csv": AnswerFormat("text/csv", Csv(), Csv("gz")),
    "csv-guarded": AnswerFormat("text/csv", Csv(guarded=True), Csv("gz", guarded=True)),
    "parquet": AnswerFormat("application/vnd.apache.parquet", Parquet(), Parquet(), ""),
}

_BY_MEDIA_TYPE: Mapping[str, FormatName] = {
    format_.media_type: name for name, format_ in reversed(list(FORMATS.items()))
}


def available() -> dict[FormatName, str]:
    """Return the forms that can be had here, for which nothing is missing, and their media types."""
    return {name: form.media_type for name, form in FORMATS.items() if form.plain.missing is None}


def named(text: str) -> FormatName | None:
    """Return the form with this name or media type; None where there is none."""
    for name in FORMATS:
        if text == name:
            return name
    return _BY_MEDIA_TYPE.get(text.partition(";")[0].strip().lower())


def accepted(accept: str) -> FormatName | None:
    """Return the form that an ``Accept`` header likes best; None where it accepts none that can be had.

    Of two that it likes as much, the earlier in ``FORMATS``.
    """
    if not accept.strip():
        return "json"
    liked = {name: _quality(accept, media_type) for name, media_type in available().items()}
    best = max(liked, key=lambda name: liked[name])
    return best if liked[best] > 0 else None


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an ``Accept-Encoding`` header accepts gzip."""
    codings = dict(_elements(accept_encoding))
    return codings.get("gzip", codings.get("x-gzip", codings.get("*", 0.0))) > 0


def _quality(accept: str, media_type: str) -> float:
    """Return how much a media type is liked: by the range that fits it most closely, from 0 to 1."""
    ranges = dict(_elements(accept))
    major = media_type.partition("/")[0]
    for range_ in (media_type, f"{major}/*", "*/*"):
        if range_ in ranges:
            return ranges[range_]
    return 0.0


def _elements(header: str) -> list[tuple[str, float]]:
    """Return a header's elements and their qualities; one whose quality is no number is not wanted."""
    found = []
    for element in header.split(","):
        value, *parameters = (part.strip().lower() for part in element.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, text = parameter.partition("=")
            if name.strip() == "q":
                quality = float(text) if _QUALITY.fullmatch(text.strip()) else 0.0
        if value:
            found.append((value, quality))
    return found
