"""The format of verbatim pages: what came is what is stored, and the manifest tells which rows it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ExportError, ProtocolError
from shared.exports_file import read_exports
from shared.file_format import Writer
from shared.formats import FORMATS
from shared.layout import MANIFEST, blob_name, pages_prefix, parse_blob_name
from shared.model import Batch, Document, Request, Window
from shared.paging import pages
from shared.sources import SOURCES
from shared.windows import HOUR, parse_instant
from tests.unit.fakes import ListSend
from tests.unit.strategies import export_names, windows

FOLDER = "events/_pages/w/a/"
PAGES = FORMATS["pages"]


def page_of(*records: str) -> bytes:
    """Write a page as no JSON encoder would."""
    return ('{ "@odata.context":"c",\r\n\t"value" : [' + " ,\n".join(records) + "] }").encode()


def batch(body: bytes, chosen: Sequence[int], times: Sequence[str] = ()) -> Batch:
    """Return a page's batch, with the records that a source chose from it."""
    (page,) = pages(ListSend([body]), Request("GET", "/"))
    return Batch([page.records[index] for index in chosen], times=times, page=page.body)


def written(writer: Writer, *batches: Batch) -> tuple[bytes, dict[str, Document]]:
    """Write batches; return the manifest, and the files under their whole names."""
    files: dict[str, Document] = {}
    for each in batches:
        assert writer.write(each) == b""
        files |= {f"{FOLDER}{name}": Document(data, "") for name, data in writer.files()}
    return writer.finish(), files


def first(*batches: Batch) -> tuple[bytes, dict[str, Document]]:
    """Write batches of a window that was never stored."""
    return written(PAGES.writer(FOLDER), *batches)


def rows_in(manifest: bytes, files: Mapping[str, Document]) -> list[str]:
    """Return the rows that the format reads back."""
    return [bytes(row).decode() for row in PAGES.records(manifest, files.get)]


def test_pages_are_stored_as_they_came_and_named_by_the_manifest() -> None:
    """Each page is a numbered file; the manifest has its name, size, hash, and which records are rows."""
    bodies = [page_of('{"a":1}', '{"a":2}', '{"a":3}'), page_of('{"a":3}', '{"a":4}')]
    manifest, files = first(batch(bodies[0], [0, 2]), batch(bodies[1], [1]))
    assert [each.data for each in files.values()] == bodies
    assert json.loads(manifest) == {
        "pages": [
            {
                "name": f"{FOLDER}audit{number}.json",
                "bytes": len(body),
                "sha256": hashlib.sha256(body).hexdigest(),
                "records": records,
            }
            for number, body, records in (
                (0, bodies[0], [{"first": 0, "count": 1}, {"first": 2, "count": 1}]),
                (1, bodies[1], [{"first": 1, "count": 1}]),
            )
        ]
    }


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_the_rows_read_back_are_those_that_were_chosen(records: list[tuple[int, bool]]) -> None:
    """Whatever part of a page is a window's, and however often a record is repeated on it."""
    body = page_of(*(f'{{ "n":{number}}}' for number, _ in records))
    chosen = [index for index, (_, wanted) in enumerate(records) if wanted]
    writer = PAGES.writer(FOLDER)
    manifest, files = written(writer, batch(body, chosen))
    assert rows_in(manifest, files) == [f'{{ "n":{records[index][0]}}}' for index in chosen]
    assert writer.rows == len(chosen)
    runs = json.loads(manifest)["pages"][0]["records"]
    starts = {run["first"] for run in runs}
    assert not starts & {run["first"] + run["count"] for run in runs}, "neighbours are one run"


@pytest.mark.parametrize(
    ("record", "line"),
    [
        ('{\n "a" :\r\n 1 }', '{"a":1}'),
        ('{"a":"\u2028"}', '{"a":"\\u2028"}'),
        ('{"a":"\\ud83d"}', '{"a":"\\ud83d"}'),
        ('{"a":1.10,"b":12345678901234567890}', '{"a":1.10,"b":12345678901234567890}'),
    ],
    ids=["line feeds", "line separator", "half a pair", "digits"],
)
def test_a_row_is_read_back_as_a_line_of_json_lines(record: str, line: str) -> None:
    """So that a record is known again, whichever format it was stored in."""
    body = page_of('{"other":"\\ud83d"}', record)
    manifest, files = first(batch(body, [1]))
    assert rows_in(manifest, files) == [line]
    assert files[f"{FOLDER}audit0.json"].data == body
    lines = FORMATS["jsonl"].writer()
    assert lines.write(batch(body, [1])) + lines.finish() == f"{line}\n".encode()


def test_a_page_without_rows_of_the_window_is_stored_too() -> None:
    """It is what the service answered, and proves that there was nothing."""
    body = page_of()
    manifest, files = first(batch(body, []))
    assert [each.data for each in files.values()] == [body]
    assert rows_in(manifest, files) == []


def test_a_file_is_handed_over_once() -> None:
    """Who asks twice would store it twice."""
    writer = PAGES.writer(FOLDER)
    writer.write(batch(page_of("{}"), [0]))
    assert [name for name, _ in writer.files()] == ["audit0.json"]
    assert list(writer.files()) == []
    writer.write(batch(page_of("{}"), [0]))
    assert [name for name, _ in writer.files()] == ["audit1.json"]


def test_the_range_of_the_row_times_is_known() -> None:
    """As the service wrote them, zeros cut off or not."""
    writer = PAGES.writer(FOLDER)
    assert (writer.first_time, writer.last_time) == (None, None)
    body = page_of("{}", "[]")
    written(writer, batch(body, [0, 1], ["2026-11-21T10:00:00.51Z", "2026-11-21T10:00:00.5Z"]))
    assert (writer.first_time, writer.last_time) == ("2026-11-21T10:00:00.5Z", "2026-11-21T10:00:00.51Z")


def test_in_a_second_writing_the_pages_stay_and_only_new_rows_bring_pages() -> None:
    """What was named is named, in its own folder; a page that brings nothing is not stored."""
    before, old_files = first(batch(page_of('{"a":1}'), [0]))
    writer = PAGES.writer("events/_pages/w/b/", before)
    new = page_of('{"a":1}', '{"a":2}')
    assert writer.rows == 1
    assert writer.write(Batch([], times=["2026-11-21T10:00:00Z"])) == b""
    for each in (batch(page_of('{"a":1}'), []), batch(new, [1])):
        writer.write(each)
    files = {f"events/_pages/w/b/{name}": Document(data, "") for name, data in writer.files()}
    assert list(files) == ["events/_pages/w/b/audit0.json"]
    assert writer.rows == 2
    manifest = writer.finish()
    assert json.loads(manifest)["pages"][:1] == json.loads(before)["pages"]
    assert rows_in(manifest, old_files | files) == ['{"a":1}', '{"a":2}']


def test_rows_without_their_pages_are_refused() -> None:
    """There is nothing verbatim to store them in."""
    row = msgspec.Raw(b'{"a":1}')
    with pytest.raises(ExportError, match="give the export another format"):
        PAGES.writer(FOLDER).write(Batch([row]))
    before, _ = first(batch(page_of('{"a":1}'), [0]))
    with pytest.raises(ExportError, match="1 rows"):
        PAGES.writer(FOLDER, before).write(Batch([row]))


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (page_of('{"a":1}', '{"a":2}'), ['{"a":3}']),
        (page_of('{"a":1}', '{"a":2}'), ['{"a":2}', '{"a":1}']),
        (page_of('{"a":1}'), ['{"a":1}', '{"a":1}']),
        (b'{"value":["\xff"]}', []),
        (b'{"value":[', []),
        (b'{"values":[]}', []),
    ],
    ids=["a stranger", "another order", "more", "not UTF-8", "torn", "no value"],
)
def test_a_page_that_is_not_the_one_of_its_rows_is_refused(body: bytes, rows: list[str]) -> None:
    """A manifest must not say of a page what is not so, nor name one that nobody can read."""
    with pytest.raises(ProtocolError):
        PAGES.writer(FOLDER).write(Batch([msgspec.Raw(row.encode()) for row in rows], page=body))


def _manifest_of_one() -> tuple[bytes, dict[str, Document]]:
    return first(batch(page_of('{"a":1}', '{"a":2}'), [0, 1]))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no manifest"),
        (b'{"pages":', "no manifest"),
        (b'{"a":1}\n', "no manifest"),
        (_manifest_of_one()[0].replace(b'"count":2', b'"count":3'), "2 records"),
        (_manifest_of_one()[0].replace(b'"first":0', b'"first":1'), "2 records"),
        (_manifest_of_one()[0].replace(b"audit0", b"audit1"), "audit1.json is gone"),
    ],
)
def test_a_damaged_manifest_is_said_to_be(data: bytes, says: str) -> None:
    """Nothing that it does not hold is taken for its rows."""
    with pytest.raises(ValueError, match=says):
        list(PAGES.records(data, _manifest_of_one()[1].get))


def test_a_damaged_page_is_said_to_be() -> None:
    """Its hash is in the manifest, whose own is in the receipt."""
    manifest, files = _manifest_of_one()
    ((name, page),) = files.items()
    with pytest.raises(ValueError, match=r"audit0\.json is damaged"):
        list(PAGES.records(manifest, {name: Document(page.data.replace(b"2", b"3"), "")}.get))
    with pytest.raises(ValueError, match=r"audit0\.json is gone"):
        list(PAGES.records(manifest))


def test_an_empty_manifest_is_a_window_without_pages() -> None:
    """A source may answer that there is nothing without a page."""
    manifest, _ = first()
    assert list(PAGES.records(manifest)) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            {"source": "log_analytics", "table": "Event"},
            "csv-guarded.gz, parquet: this source does not answer in pages",
        ),
        ({"source": "entra", "log": "directoryAudits"}, None),
    ],
)
def test_only_a_source_that_pages_can_have_its_pages_stored(
    source: dict[str, str], expected: str | None, tmp_path: Path
) -> None:
    """Any other says which formats it can have."""
    entry = {"name": "x", "format": "pages", **source}
    if "table" in entry:
        entry["workspace"] = "12345678-1234-1234-1234-123456789abc"
    file = tmp_path / "exports.toml"
    file.write_text("\n".join(["[[export]]", *(f'{key} = "{text}"' for key, text in entry.items())]), "utf-8")
    exports, problems = read_exports(
        file, {}, cloud="public", tenant_id="T", sources=SOURCES, formats=FORMATS
    )
    if expected is None:
        assert ([each.format for each in exports], problems) == (["pages"], [])
    else:
        (problem,) = problems
        assert "format: found 'pages'" in str(problem)
        assert expected in str(problem)


@given(export_names, windows())
def test_the_manifest_is_the_windows_blob_and_no_page_is(export: str, window: Window) -> None:
    """Coverage finds the manifest among the partitions, and never a page."""
    assert parse_blob_name(blob_name(export, window, PAGES.extension)) == (window, MANIFEST)
    folder = pages_prefix(export, window)
    assert parse_blob_name(f"{folder}0123abcd/audit0.json") is None
    assert not folder.startswith(f"{export}/window_date=")


def test_a_windows_folders_are_not_those_of_another() -> None:
    """A prefix ends with the window's whole name, so that a listing finds its pages alone."""
    ten = parse_instant("2026-11-21T10:00:00Z")
    assert pages_prefix("events", Window(ten, ten + HOUR)) == (
        "events/_pages/20261121T100000Z_20261121T110000Z/"
    )
