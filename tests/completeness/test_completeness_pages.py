"""Pages are stored as the service sent them, and their manifests hold every record once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from local.compare import freeze, ticks
from shared.errors import StorageError
from shared.model import Request, Response
from shared.staging import Staging
from tests.completeness.truth import decode
from tests.completeness.world import World, at, intercept, small_pages_of

pytestmark = pytest.mark.usefixtures("azurite")


@dataclass
class Wire:
    """What the service answered: the bodies of all pages, in their order."""

    pages: list[bytes] = field(default_factory=list)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Ask for pages of five records, and take down what comes."""
    seen = Wire()

    def note(request: Request, response: Response) -> Response:
        if re.search(r"/auditLogs/|/activities/|/records", request.target):
            seen.pages.append(response.body)
        return response

    small_pages_of(monkeypatch)
    intercept(monkeypatch, after=note)
    return seen


@dataclass(frozen=True)
class Window:
    """A window's manifest, its receipt, and the pages that it names."""

    name: str
    receipt: dict[str, str]
    named: list[dict[str, Any]]
    pages: list[bytes]

    def rows(self) -> Iterator[tuple[bytes, Any]]:
        """Yield the window's records, each with its page."""
        for named, page in zip(self.named, self.pages, strict=True):
            value = decode(page)["value"]
            for run in named["records"]:
                yield from ((page, each) for each in value[int(run["first"]) :][: int(run["count"])])


def stored(world: World, export: str = "audits") -> list[Window]:
    """Return an export's windows, oldest first, each checked against its receipt."""
    found = []
    for blob in world.data.list_blobs(f"{export}/window_date=", include=["metadata"]):
        assert blob.name.endswith(".pages.json")
        content = world.data.download_blob(blob.name).readall()
        named = json.loads(content)["pages"]
        pages = [world.data.download_blob(page["name"]).readall() for page in named]
        window = Window(blob.name, dict(blob.metadata), named, pages)
        assert hashlib.sha256(content).hexdigest() == window.receipt["sha256"]
        assert [(len(page), hashlib.sha256(page).hexdigest()) for page in pages] == [
            (page["bytes"], page["sha256"]) for page in named
        ]
        assert len(list(window.rows())) == int(window.receipt["rows"])
        found.append(window)
    return found


def folder_names(world: World, export: str = "audits") -> list[str]:
    """Return the names of all pages in storage."""
    return sorted(blob.name for blob in world.data.list_blobs(f"{export}/_pages/"))


def check(world: World, records: list[dict[str, Any]], time: str, export: str = "audits") -> None:
    """Assert that each window from 10:00 to 12:00 holds the service's records of its time, each once."""
    for window, hour in zip(stored(world, export), (10, 11), strict=True):
        first, last = ticks(at(f"{hour}:00")), ticks(at(f"{hour + 1}:00"))
        wanted = [freeze(each) for each in records if first <= ticks(str(each[time])) < last]
        held = [freeze(each) for _, each in window.rows()]
        assert sorted(map(repr, held)) == sorted(map(repr, wanted))
        assert held, "there is something to compare"


def records(count: int, hour: str) -> list[dict[str, Any]]:
    """So many directory audits of an hour, a second apart, and one on its first and one on its last tick."""
    times = [f"{hour}:00:00", f"{hour}:59:59.9999999", *(f"{hour}:30:{at:02}.5" for at in range(count - 2))]
    return [{"id": f"{hour}-{number:03}", "activityDateTime": at(time)} for number, time in enumerate(times)]


def test_the_pages_of_directory_audits_land_as_they_came(world: World, wire: Wire) -> None:
    """Byte for byte and in order, all of them; and the manifests tell which records are whose."""
    world.cloud.add_audits([*records(13, "10"), *records(7, "11")])
    world.start(world.audits(format="pages"))
    world.drain()
    windows = stored(world)
    assert sorted(page for window in windows for page in window.pages) == sorted(wire.pages)
    for window in windows:
        at_first = wire.pages.index(window.pages[0])
        assert window.pages == wire.pages[at_first : at_first + len(window.pages)]
        folder = window.named[0]["name"].rpartition("/")[0]
        assert folder.endswith(f"/{window.receipt['attempt']}")
        assert [each["name"] for each in window.named] == [
            f"{folder}/audit{number}.json" for number in range(len(window.pages))
        ]
    check(world, world.cloud.audits(), "activityDateTime")
    properties = world.data.get_blob_client(windows[0].named[0]["name"]).get_blob_properties()
    assert properties.content_settings.content_type == "application/json"
    assert properties.content_settings.content_encoding is None
    assert world.drain() == []


def test_the_pages_of_azure_ad_graph_land_as_they_came(world: World, wire: Wire) -> None:
    """The original script's files, with every record of the week once."""
    times = [f"{hour}:{minute:02}:07.25" for hour in (10, 11) for minute in range(0, 60, 7)]
    world.cloud.add_activities("audit", [{"activityDate": at(time)} for time in times])
    world.start(world.report("audit", format="pages"))
    world.drain()
    assert sorted(page for window in stored(world, "audit") for page in window.pages) == sorted(wire.pages)
    check(world, world.cloud.activities("audit"), "activityDate", "audit")


def test_the_pages_of_an_audit_search_land_as_they_came(
    world: World, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records come on pages too; of a walk that is repeated, only what brings a record is stored."""
    world.cloud.set_limits(audit_search_start=0.0, audit_search_seconds=0.0)
    monkeypatch.setattr("shared.sources.audit_search._PAGE_SIZE", 5)
    times = [f"{hour}:{minute:02}:07" for hour in (10, 11) for minute in range(0, 60, 7)]
    world.cloud.add_search_records([{"createdDateTime": at(time)} for time in times])
    world.start(world.searched(format="pages"))
    world.drain()
    pages = [page for window in stored(world, "searched") for page in window.pages]
    assert set(pages) <= set(wire.pages)
    assert len(set(pages)) == len(pages)
    check(world, world.cloud.search_records(), "createdDateTime", "searched")


def test_a_recheck_adds_the_page_of_a_late_record(world: World, wire: Wire) -> None:
    """The pages that were stored stay as they are; of the second walk, only the page with it is added."""
    world.cloud.add_audits([*records(8, "10"), *records(8, "11")])
    world.start(world.audits(format="pages", recheck=["1h", "2h"]))
    world.drain()
    before = folder_names(world)
    world.cloud.add_audits([{"id": "late", "activityDateTime": at("11:45")}])
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    (added,) = [name for name in folder_names(world) if name not in before and "T110000Z_" in name]
    assert world.data.download_blob(added).readall() in wire.pages
    assert (at("11:00:00"), 8, 9, "added") in world.rechecked("audits")
    assert (at("10:00:00"), 8, 8, "unchanged") in world.rechecked("audits")
    assert set(before) <= set(folder_names(world))
    late = stored(world)[1]
    assert late.receipt["revision"] == "2"
    assert [row["id"] for _, row in late.rows()].count("late") == 1
    assert folder_names(world) == sorted(page["name"] for window in stored(world) for page in window.named)


@pytest.mark.usefixtures("wire")
def test_what_is_damaged_is_found_and_mended(world: World) -> None:
    """Looking deep reads every page; what a repair replaces is gone afterwards."""
    world.cloud.add_audits([*records(8, "10"), *records(8, "11")])
    world.start(world.audits(format="pages"))
    world.drain()
    first, second = stored(world)
    world.data.upload_blob(first.named[0]["name"], b"{}", overwrite=True)
    world.data.delete_blob(second.named[1]["name"])
    answer = world.verify(at("10:00:00"), at("12:00:00"), "audits", deep=True, repair=True)
    assert [each["why"].rpartition("/")[2] for each in answer["damaged"]] == [
        "audit0.json is damaged: its bytes are not those of the manifest",
        "audit1.json is gone",
    ]
    world.drain()
    answer = world.verify(at("10:00:00"), at("12:00:00"), "audits", deep=True)
    assert (answer["damaged"], answer["complete"]) == ([], 2)
    check(world, world.cloud.audits(), "activityDateTime")
    assert folder_names(world) == sorted(page["name"] for window in stored(world) for page in window.named)


@pytest.mark.usefixtures("wire")
def test_what_a_dead_attempt_left_is_swept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pages are there and its manifest is not: an hour later no trace of it is left."""
    world.cloud.add_audits([*records(8, "10"), *records(8, "11")])
    world.start(world.audits(format="pages"))

    def dies(*_positional: object, **_named: object) -> None:
        raise StorageError("the process ended here", retryable=True)

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "commit", dies)
        world.drain()
    assert folder_names(world)
    assert stored(world) == []
    world.clock.tick = ticks(at("13:25"))
    world.app.attempts.sweep()
    assert folder_names(world) == []
    assert world.documents("page_folders/") == []
    world.drain()
    assert len(stored(world)) == 3
    world.app.attempts.sweep()
    assert folder_names(world) == sorted(page["name"] for window in stored(world) for page in window.named)


@pytest.mark.usefixtures("wire")
def test_a_change_of_the_format_moves_the_records(world: World) -> None:
    """To JSON lines and back again: each record is there once, and the pages only while they are named."""
    world.cloud.add_audits([*records(8, "10"), *records(8, "11")])
    for format_, pages in (("pages", True), ("jsonl.gz", False), ("pages", True)):
        world.start(world.audits(format=format_))
        world.clock.tick += 10_000_000
        world.backfill(at("10:00:00"), at("12:00:00"), "audits", force=True)
        world.clock.tick += 10_000_000
        world.drain()
        assert bool(folder_names(world)) is pages
        if pages:
            check(world, world.cloud.audits(), "activityDateTime")
        else:
            world.check_audits()
