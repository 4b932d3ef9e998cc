"""A source that pages, a world that stores its pages, and an independent reading of what is stored.

What is stored is read here with nothing of the app but the words of its storage layout.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from shared.model import Batch, Blob, Reading
from tests.parts.fakes import Crashed, FakeSource, between, make_export, order, row_at, rows_of
from tests.parts.faulty import Act, Interfere, Steps
from tests.parts.world import World

WINDOW = between("10:00", "11:00")
ROWS = rows_of(WINDOW)
LATE = row_at("10:05:00.0000001", late=True)
MANIFEST = "events/window_date=2026-11-21/window_hour=10/20261121T100000Z_20261121T110000Z.pages.json"
FOLDERS = "events/_pages/20261121T100000Z_20261121T110000Z/"


class PagedSource(FakeSource):
    """Gives its rows on pages, which also hold a record from beside the window and the first row again.

    No two walks give the same bytes, because each has tokens of its own. ``pages`` are the bodies of all
    walks.
    """

    def __init__(self, size: int = 4) -> None:
        super().__init__(size)
        self.pages: list[bytes] = []

    def read(self, reading: Reading) -> Iterator[Batch]:
        """Yield the window's rows, a page a batch; a window without rows has one empty page."""
        for batch in list(super().read(reading)) or [Batch([])]:
            yield self._on_a_page(batch)

    def _on_a_page(self, batch: Batch) -> Batch:
        rows = [bytes(row).decode() for row in batch.rows]
        value = ['{"at":"2001-01-01T00:00:00.0000000Z"}', *rows, *rows[:1]]
        link = f"https://service.invalid/log?$skiptoken={len(self.pages)}"
        body = f'{{\n "value": [{", ".join(value)}],\r\n "@odata.nextLink": "{link}"\n}}'.encode()
        self.pages.append(body)
        return replace(batch, page=body)


def paged_world(format_: str = "pages") -> World:
    """Return a world with an export of a paged source, of which nothing is stored."""
    export = make_export(kind="entra", format_=format_, start="2026-11-21T10:00:00Z")
    world = World([export], source=PagedSource())
    world.state().origin(export)
    return world


def stored_world(format_: str = "pages") -> World:
    """Return a world that has stored one window."""
    world = paged_world(format_)
    world.exporter().run(order(world.exports[0], WINDOW))
    assert held_rows(world) == sorted(ROWS)
    return world


def source_of(world: World) -> PagedSource:
    """Return a world's source."""
    assert isinstance(world.source, PagedSource)
    return world.source


def manifests(world: World) -> list[tuple[Blob, dict[str, Any]]]:
    """Return the manifests, and what is in them."""
    blobs = [
        blob
        for blob in world.data.list("events/window_date=", metadata=True)
        if blob.name.endswith(".pages.json")
    ]
    return [(blob, json.loads(content(world, blob.name))) for blob in blobs]


def content(world: World, name: str) -> bytes:
    """Return the bytes of a blob that is there."""
    document = world.data.read(name)
    assert document is not None, f"there is no blob {name}"
    return document.data


def named_pages(world: World) -> list[str]:
    """Return the names of all pages that a manifest names."""
    return [page["name"] for _, manifest in manifests(world) for page in manifest["pages"]]


def page_blobs(world: World) -> list[str]:
    """Return the names of all pages that are there."""
    return [blob.name for blob in world.data.list("events/_pages/")]


def markers(world: World) -> list[str]:
    """Return the names of the markers that are there."""
    return [blob.name for blob in world.documents.list("page_folders/")]


def held_rows(world: World) -> list[str]:
    """Return the rows that are stored, in whatever format; check all that a manifest says on the way."""
    rows: list[str] = []
    for blob, manifest in manifests(world):
        assert hashlib.sha256(content(world, blob.name)).hexdigest() == blob.metadata["sha256"]
        before = len(rows)
        for page in manifest["pages"]:
            body = content(world, page["name"])
            assert (hashlib.sha256(body).hexdigest(), len(body)) == (page["sha256"], page["bytes"])
            value = json.loads(body)["value"]
            for run in page["records"]:
                part = value[run["first"] : run["first"] + run["count"]]
                assert len(part) == run["count"]
                rows += [json.dumps(record, separators=(",", ":")) for record in part]
        assert len(rows) - before == int(blob.metadata["rows"])
    for blob in world.data.list("events/window_date="):
        if blob.name.endswith(".jsonl"):
            rows += content(world, blob.name).decode().splitlines()
    return sorted(rows)


def check_clean(world: World) -> None:
    """Assert that once a sweep has been, just the pages are there that are named, and no marker."""
    world.clock.advance("2h")
    world.attempts().sweep()
    assert sorted(page_blobs(world)) == sorted(named_pages(world))
    assert markers(world) == []


def ask(world: World, format_: str) -> None:
    """Ask for the window to be stored again, in a format."""
    world.exports = [make_export(kind="entra", format_=format_, start="2026-11-21T10:00:00Z")]
    world.clock.advance("1m")
    world.journal().add_backfill("events", WINDOW, force=True, allow_shrink=False)
    world.clock.advance("1m")


def ask_again(world: World, format_: str) -> None:
    """Ask for the same when the source has one row more."""
    source_of(world).late = [LATE]
    ask(world, format_)


def first_export() -> World:
    """Return a world in which the window is to be stored for the first time."""
    return paged_world()


def added_to() -> World:
    """Return a world in which the window's pages are to be added to."""
    world = stored_world()
    ask_again(world, "pages")
    return world


def mended() -> World:
    """Return a world in which the window's pages are damaged and to be replaced."""
    world = stored_world()
    ask_again(world, "pages")
    world.data.delete(page_blobs(world)[0])
    return world


def to_lines() -> World:
    """Return a world in which the window's pages are to become JSON lines."""
    world = stored_world()
    ask_again(world, "jsonl")
    return world


def to_pages() -> World:
    """Return a world in which the window's JSON lines are to become pages."""
    world = stored_world("jsonl")
    ask_again(world, "pages")
    return world


def rows_wanted(begin: Callable[[], World]) -> list[str]:
    """Return the rows that are to be stored in the end."""
    return sorted(ROWS if begin is first_export else [*ROWS, LATE])


def run(world: World, interfere: Interfere | None = None) -> None:
    """Deliver the window's message, perhaps with steps that fail."""
    message = order(world.exports[0], WINDOW, "backfill")
    if interfere is None:
        world.exporter().run(message)
        return
    steps = Steps(interfere)
    exporter = world.exporter(
        data=steps.container(world.data),
        documents=steps.container(world.documents),
        source=steps.source(world.source),
    )
    exporter.run(message)


def dies_at(step: str) -> Interfere:
    """Let the process end before a step."""

    def interfere(name: str, act: Act) -> object:
        if name.startswith(step):
            raise Crashed
        return act()

    return interfere
