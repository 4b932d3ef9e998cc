"""A window's pages are stored as they came, kept when it is stored again, and proven by its manifest."""

import json
from typing import Any

import pytest

from shared.auditor import VerifyBody
from shared.coverage import Stored, stored_near
from shared.errors import ConflictError
from shared.model import Export, Window
from shared.reading import DEADLINE_SECONDS
from shared.receipts import from_metadata
from shared.rewriter import Rewrite
from shared.windows import HOUR
from tests.parts.fakes import LENGTHS, between, make_export, order
from tests.parts.faulty import Act, Steps
from tests.parts.paged import (
    FOLDERS,
    LATE,
    MANIFEST,
    ROWS,
    WINDOW,
    ask,
    check_clean,
    content,
    held_rows,
    manifests,
    markers,
    named_pages,
    page_blobs,
    paged_world,
    run,
    source_of,
    stored_world,
)
from tests.parts.world import World


def stored(world: World) -> Stored:
    """Return the one window that is stored."""
    (found,) = stored_near(world.data, "events", WINDOW, LENGTHS)
    return found


def rewrite(world: World, export: Export | None = None, **options: Any) -> Rewrite:
    """Store the window again, a minute later."""
    world.clock.advance("1m")
    deadline = world.clock.monotonic() + DEADLINE_SECONDS
    message = order(world.exports[0], WINDOW, "backfill")
    return world.rewriter(data=options.pop("data", None)).rewrite(
        export or world.exports[0], stored(world), message, deadline, since=0, **options
    )


def verify(world: World, **options: Any) -> dict[str, Any]:
    """Verify the window."""
    return world.auditor().verify("events", WINDOW, VerifyBody("", "", **options))


def damage(world: World, name: str) -> None:
    """Change a blob's bytes, under its metadata."""
    blob = world.data.head(name)
    assert blob is not None
    changed = content(world, name).replace(b"2026", b"2062")
    world.data.write(name, changed, etag=blob.etag, metadata=blob.metadata)


def test_every_page_is_stored_byte_for_byte() -> None:
    """In the folder of the attempt that the receipt names, in the order of the walk; no marker is left."""
    world = stored_world()
    ((blob, _),) = manifests(world)
    folder = f"{FOLDERS}{blob.metadata['attempt']}/"
    assert blob.name == MANIFEST
    assert page_blobs(world) == named_pages(world) == [f"{folder}audit0.json", f"{folder}audit1.json"]
    assert [content(world, name) for name in page_blobs(world)] == source_of(world).pages
    assert markers(world) == []


def test_a_window_without_rows_keeps_the_page_that_said_so() -> None:
    """It is the proof that there was nothing."""
    world = paged_world()
    source_of(world).gone = set(ROWS)
    world.exporter().run(order(world.exports[0], WINDOW))
    assert [content(world, name) for name in page_blobs(world)] == source_of(world).pages
    assert held_rows(world) == []


def test_pages_are_no_windows() -> None:
    """Planning finds the manifests and nothing else, and has nothing left to do."""
    world = paged_world()
    assert [message.window for message in world.work("entra")] == [
        between("11:00", "12:00"),
        WINDOW,
    ]
    assert len(page_blobs(world)) == 4
    assert world.plan("entra") == []
    assert world.auditor().coverage("events")["gaps"] == []


def test_what_became_visible_since_brings_its_page_and_the_others_stay() -> None:
    """Only the page with the new row is added, in the folder of the second attempt."""
    world = stored_world()
    before = page_blobs(world)
    source_of(world).late = [LATE]
    assert rewrite(world) == Rewrite("added", 7)
    assert held_rows(world) == sorted([*ROWS, LATE])
    (added,) = set(page_blobs(world)) - set(before)
    receipt = from_metadata(stored(world).blob.metadata)
    assert added == f"{FOLDERS}{receipt.attempt}/audit0.json"
    assert content(world, added) in source_of(world).pages
    assert (receipt.rows, receipt.revision) == (7, 2)
    assert (receipt.first_time, receipt.last_time) == tuple(row[7:35] for row in (ROWS[0], ROWS[-1]))
    check_clean(world)


def test_where_nothing_is_new_nothing_is_written() -> None:
    """Although no two walks give the same pages."""
    world = stored_world()
    before = [blob.etag for blob in world.data.list("events/")]
    source_of(world).gone = set(ROWS[:2])
    assert rewrite(world) == Rewrite("unchanged", 4)
    assert [blob.etag for blob in world.data.list("events/")] == before
    assert markers(world) == []


def test_an_empty_window_that_stays_empty_is_unchanged() -> None:
    """Its page was a proof; another one like it proves no more."""
    world = paged_world()
    source_of(world).gone = set(ROWS)
    world.exporter().run(order(world.exports[0], WINDOW))
    before = stored(world)
    assert rewrite(world) == Rewrite("unchanged", 0)
    assert stored(world) == before
    source_of(world).late = [LATE]
    assert rewrite(world) == Rewrite("added", 1)
    assert held_rows(world) == [LATE]
    assert len(page_blobs(world)) == 2


def test_a_recheck_adds_to_pages() -> None:
    """From the plan to the blob, as it happens."""
    export = make_export(kind="entra", format_="pages", start="2026-11-21T10:00:00Z", recheck=["2h"])
    world = paged_world()
    world.exports = [export]
    world.work("entra")
    source_of(world).late = [LATE]
    world.clock.advance("1h")
    world.work("entra")
    assert LATE in held_rows(world)
    check_clean(world)


@pytest.mark.parametrize("what", ["manifest", "page", "page gone"])
def test_what_is_damaged_is_found_and_mended(what: str, caplog: pytest.LogCaptureFixture) -> None:
    """Looking deep reads the pages too; a repair stores the window anew and clears the old folder away."""
    world = stored_world()
    assert verify(world, deep=True)["damaged"] == []
    name = MANIFEST if what == "manifest" else page_blobs(world)[1]
    if what == "page gone":
        world.data.delete(name)
    else:
        damage(world, name)
    assert verify(world)["damaged"] == []
    world.clock.advance("1m")
    (found,) = verify(world, deep=True, repair=True)["damaged"]
    assert MANIFEST in found["why"]
    assert {"manifest": "not those of its receipt", "page": "audit1.json is damaged"}.get(
        what, "audit1.json is gone"
    ) in found["why"]
    old = set(page_blobs(world))
    world.work("entra")
    assert verify(world, deep=True)["damaged"] == []
    assert set(ROWS) <= set(held_rows(world))
    assert not old & set(page_blobs(world))
    assert "stored window damaged" in caplog.text
    check_clean(world)


def test_differing_rows_of_a_damaged_window_are_told_without_looking_deep() -> None:
    """The rows that it holds cannot be read to compare them: it is not said to be complete."""
    world = stored_world()
    damage(world, page_blobs(world)[0])
    source_of(world).late = [LATE]
    assert [each["stored"] for each in verify(world)["differing"]] == [6]


def test_a_damaged_manifest_that_is_not_replaced_keeps_its_pages() -> None:
    """Where the source has lost rows since, somebody may yet mend the manifest, so nothing is swept."""
    world = stored_world()
    intact = content(world, MANIFEST)
    damage(world, MANIFEST)
    source_of(world).gone = {ROWS[0]}
    before = page_blobs(world)
    assert rewrite(world, force=True) == Rewrite("source_shrank", 5)
    world.clock.advance("2h")
    world.attempts().sweep()
    assert set(before) <= set(page_blobs(world))
    blob = stored(world).blob
    world.data.write(MANIFEST, intact, etag=blob.etag, metadata=blob.metadata)
    assert held_rows(world) == sorted(ROWS)
    check_clean(world)


def test_json_lines_take_the_place_of_pages() -> None:
    """Their rows are moved, also those that the source has lost; no page and no marker stays."""
    world = stored_world()
    source_of(world).gone = {ROWS[0]}
    source_of(world).late = [LATE]
    ask(world, "jsonl")
    run(world)
    assert stored(world).extension == "jsonl"
    assert held_rows(world) == sorted([*ROWS, LATE])
    assert (page_blobs(world), markers(world)) == ([], [])


def test_pages_take_the_place_of_json_lines_that_they_hold() -> None:
    """Where the source still has every stored row, its pages have them too."""
    world = stored_world("jsonl")
    source_of(world).late = [LATE]
    ask(world, "pages")
    run(world)
    assert stored(world).extension == "pages.json"
    assert held_rows(world) == sorted([*ROWS, LATE])
    assert len(page_blobs(world)) == 2
    check_clean(world)


def test_json_lines_stay_where_no_page_has_a_row_of_theirs(caplog: pytest.LogCaptureFixture) -> None:
    """A row that the source has lost cannot be had verbatim, and is not given up for that."""
    world = stored_world("jsonl")
    before = stored(world)
    source_of(world).gone = {ROWS[0]}
    source_of(world).late = [LATE]  # as many rows as there were, but not the same
    ask(world, "pages")
    run(world)
    assert stored(world) == before
    assert "1 of these gone there, so that no page has them" in caplog.text
    assert page_blobs(world) == []
    world.clock.advance("1m")
    world.work("entra")
    assert not world.backfills(), "the redo is over, and is not tried for ever"


def test_a_redo_of_sound_pages_keeps_them() -> None:
    """Asked for by force, it writes a new revision that names the same pages."""
    world = stored_world()
    before = named_pages(world)
    assert rewrite(world, force=True) == Rewrite("added", 6)
    assert named_pages(world) == page_blobs(world) == before
    assert from_metadata(stored(world).blob.metadata).revision == 2


def test_a_manifest_that_somebody_deleted_takes_its_pages_along() -> None:
    """Its window is a gap, and whoever fills it clears away what nobody names any more."""
    world = stored_world()
    old = page_blobs(world)
    world.data.delete(MANIFEST)
    world.exporter().run(order(world.exports[0], WINDOW))
    assert held_rows(world) == sorted(ROWS)
    assert not set(old) & set(page_blobs(world))


def test_a_withdrawn_window_takes_its_pages_along() -> None:
    """Another window overlaps it: with its manifest go its pages, and the other's stay."""
    world = stored_world()
    half = make_export(kind="entra", format_="pages", window="30m", start="2026-11-21T10:00:00Z")
    world.state().register(half)
    shadow = World([half], source=world.source, documents=world.documents)
    shadow.exporter().run(order(half, Window(WINDOW.start, WINDOW.start + HOUR // 2)))
    for blob in shadow.data.list("events/", metadata=True):
        world.data.write(blob.name, content(shadow, blob.name), etag=None, metadata=blob.metadata)
    world.exporter().run(order(world.exports[0], WINDOW))
    assert held_rows(world) == ROWS[:3]
    check_clean(world)


def test_the_manifest_is_json_that_a_person_can_read() -> None:
    """One object, with the pages in their order."""
    world = stored_world()
    pages = json.loads(content(world, MANIFEST))["pages"]
    assert [page["records"] for page in pages] == [[{"first": 1, "count": 4}], [{"first": 1, "count": 2}]]


def test_a_page_that_is_removed_while_the_window_is_stored_again_is_a_conflict() -> None:
    """Another worker replaced the window just then: nothing is written, and the message comes back."""
    world = stored_world()
    before = stored(world)
    page = page_blobs(world)[1]
    read: list[str] = []

    def removing(step: str, act: Act) -> Any:
        if step == f"read {page}" and step in read:
            world.data.delete(page)
        read.append(step)
        return act()

    with pytest.raises(ConflictError, match=r"audit1\.json is gone"):
        rewrite(world, make_export(kind="entra", format_="jsonl"), data=Steps(removing).container(world.data))
    assert stored(world) == before
