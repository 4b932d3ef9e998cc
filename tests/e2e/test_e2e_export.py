"""What the cloud holds lands in storage once, value by value, whatever happens on the way."""

from __future__ import annotations

from collections import Counter

from local.cloud import INGESTION_TIME, Cloud
from local.cloud.tables import TABLES
from local.compare import SECOND, Expected, Stored, Truth, differences, instant
from tests.e2e.harness import HOUR, World

LEVEL = {"Event": {"EventLevelName": "Error"}}
ERRORS = "where EventLevelName == 'Error' | project TimeGenerated, Computer, EventID, RenderedDescription"


def truth(cloud: Cloud, window_column: str = "ingestion_time") -> Truth:
    """All that the cloud holds."""
    by_ingestion = window_column == "ingestion_time"
    return Truth(
        tables={table: cloud.rows(table) for table in TABLES},
        columns=TABLES,
        audits=cloud.audits(),
        ingested=lambda row: str(row[INGESTION_TIME]) if by_ingestion and row[INGESTION_TIME] else None,
    )


def wrong(
    world: World, export: str, table: str, pipeline: str = "", column: str = "ingestion_time"
) -> list[str]:
    """What an independent comparison finds wrong with an export of the three hours before the end."""
    source = "log_analytics" if table else "entra"
    expected = Expected(export, source, table, pipeline, window=HOUR, lag=0, start=0)
    blobs = [Stored(blob.name, blob.metadata, blob.content) for blob in world.landed(export)]
    assert sum(int(blob.metadata["rows"]) for blob in blobs) > 0, f"{export} has no rows: nothing is proven"
    return differences(expected, truth(world.cloud, column), blobs, (world.end - 3 * HOUR, world.end))


def test_everything_lands_value_by_value(world: World) -> None:
    """Tables by both window columns, a pipeline, free KQL and several pages of audits equal the source.

    So do the rows that lie just at a window's edge, and a tick before it.
    """
    free = f"Event | where TimeGenerated >= window_start and TimeGenerated < window_end | {ERRORS}"
    world.write_exports(
        world.table("errors", pipeline=ERRORS),
        world.table("sign-ins", table="SigninLogs"),
        world.table("activity", table="AzureActivity", window_column="TimeGenerated"),
        world.table("beats", table="Heartbeat", window_column="TimeGenerated"),
        world.table("free", table=None, kql=free),
        world.audits(),
    )
    world.cloud.add_audits([{"activityDateTime": world.at(-1.5)} for _ in range(2100)])
    for edge in (world.end - hours * HOUR for hours in range(4)):
        for time in (instant(edge), f"{instant(edge - SECOND)[:-1]}.9999999Z"):
            for table in ("Event", "SigninLogs", "AzureActivity", "Heartbeat"):
                world.cloud.add_rows(table, [{"TimeGenerated": time, **LEVEL.get(table, {})}], ingested=time)
            world.cloud.add_audits([{"activityDateTime": time}])
    with world.running() as app:
        app.export("log_analytics", "entra")
    assert wrong(world, "errors", "Event", ERRORS) == []
    assert wrong(world, "sign-ins", "SigninLogs") == []
    assert wrong(world, "activity", "AzureActivity", column="TimeGenerated") == []
    assert wrong(world, "beats", "Heartbeat", column="TimeGenerated") == []
    assert wrong(world, "free", "Event", ERRORS, column="TimeGenerated") == []
    assert wrong(world, "audits", "") == []
    for export in ("errors", "sign-ins", "activity", "beats", "free", "audits"):
        assert world.hours(export) == [(-3, -2), (-2, -1), (-1, 0)]


def test_a_rerun_changes_nothing(world: World) -> None:
    """Run again, by the same host and by a new one, the timers write no blob and ask the sources nothing."""
    world.write_exports(world.table(), world.audits())
    with world.running() as app:
        app.export("log_analytics", "entra")
        before = [(blob.name, blob.etag) for name in ("events", "audits") for blob in world.landed(name)]
        assert len(before) == 6
        world.cloud.clear_requests()
        app.export("log_analytics", "entra")
    with world.running() as app:
        app.export("log_analytics", "entra")
    after = [(blob.name, blob.etag) for name in ("events", "audits") for blob in world.landed(name)]
    assert after == before
    assert world.cloud.requests == []


def test_two_hosts_share_the_work(world: World) -> None:
    """Two hosts on one queue each export some of the windows, and every window lands once."""
    world.write_exports(world.table(window="15m", lag=world.lag(margin=7)))
    world.cloud.fail("log_analytics", "slow", count=None, seconds=0.15)
    with world.running() as one, world.running() as other:
        one.export()
        shares = [len(app.lines("window exported")) for app in (one, other)]
    assert sum(shares) == len(world.windows()) == 12
    assert min(shares) > 0
    assert world.ids() == world.events_at_source()


def test_two_hosts_on_one_window_store_it_once(world: World) -> None:
    """When both work on the same window at the same time, one stores it and the other gives way."""
    world.write_exports(world.table(start=world.at(-1)))
    with world.running({"AzureWebJobs.export_window.Disabled": "true"}) as app:
        app.run_timer()
    order = world.queue.receive_message()
    assert order is not None
    world.queue.clear_messages()
    world.cloud.fail("log_analytics", "slow", count=None, seconds=1)
    with world.running() as one, world.running() as other:
        for _ in range(2):
            world.queue.send_message(order.content)
        one.wait_until_idle()
        began, stored, gave_way = (
            [len(app.lines(text)) for app in (one, other)]
            for text in ("Executing 'Functions.export_window'", "window exported", "window left to")
        )
    assert began == [1, 1]
    assert sorted(stored) == [0, 1]
    assert sorted(gave_way) == [0, 1]
    assert world.hours() == [(-1, 0)]
    assert world.ids() == world.events_at_source(-1)


def test_a_window_too_large_for_one_answer_lands_whole(world: World) -> None:
    """Where the service cuts answers off at a few rows or bytes, windows are asked for in slices."""
    for limits in ({"rows": 7}, {"rows": 500_000, "bytes": 6_000}):
        world.cloud.set_limits(**limits)
        name = f"by-{list(limits)[-1]}"
        world.write_exports(world.table(name))
        with world.running() as app:
            app.export()
        assert world.hours(name) == [(-3, -2), (-2, -1), (-1, 0)]
        assert world.ids(name) == world.events_at_source()
        assert min(int(blob.metadata["slices"]) for blob in world.landed(name)) > 1


def test_late_rows_land_once_in_a_later_window(world: World) -> None:
    """Rows of an hour that was exported long ago land in the window in which they were ingested."""
    world.write_exports(world.table())
    with world.running() as app:
        app.export()
    first = world.ids()
    old = [{"TimeGenerated": world.at(-2.5), "Computer": f"late-{number}"} for number in range(3)]
    world.cloud.add_rows("Event", old, ingested=world.at(0.25))
    world.write_exports(world.table(lag=world.lag(1)))
    with world.running() as app:
        app.export()
    assert world.hours()[-1] == (0, 1)
    late = [row["Computer"] for row in world.landed()[-1].rows if row["Computer"].startswith("late-")]
    assert Counter(late) == Counter(["late-0", "late-1", "late-2"])
    assert world.ids() == first + world.events_at_source(0, 1) == world.events_at_source(-3, 1)


def test_a_change_of_window_format_and_pipeline_leaves_no_gap(world: World) -> None:
    """After each change the new windows begin where the old ones ended, and each row is there once."""
    steps = (
        world.table(window="30m", lag=world.lag(-2.5, margin=15)),
        world.table(window="1h", lag=world.lag(-1)),
        world.table(window="20m", lag=world.lag(-2 / 3, margin=10), format="jsonl"),
        world.table(window="1h", pipeline="extend Site = substring(Computer, 0, 3)"),
    )
    for exports in steps:
        world.write_exports(exports)
        with world.running() as app:
            app.export()
    minutes = [(round(60 * start), round(60 * end)) for start, end in world.hours()]
    assert minutes == [(-180, -150), (-150, -120), (-120, -60), (-60, -40), (-40, 0)]
    assert world.ids() == world.events_at_source()
    endings = [blob.name.partition(".")[2] for blob in world.landed()]
    assert endings == ["jsonl.gz", "jsonl.gz", "jsonl.gz", "jsonl", "jsonl.gz"]
    assert len({blob.metadata["config"] for blob in world.landed()}) == len(steps)
