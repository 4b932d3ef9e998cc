"""After downtime, a lost list or a lost queue, everything that is due lands, what is fresh first."""

from __future__ import annotations

import itertools
import json
import time

from local.compare import SECOND, instant
from tests.e2e.harness import HOUR, MINUTE, World, now

EVERY_FIVE_MINUTES = "0 */5 * * * *"


def test_a_past_due_timer_runs_once_and_catches_up(world: World) -> None:
    """A host that was down for several ticks runs its timer once as it starts; all that fell due lands."""
    schedule = {"EXPORT_LOG_ANALYTICS_SCHEDULE": EVERY_FIVE_MINUTES}
    one_at_a_time = {"EXPORT_LOG_ANALYTICS_MAX_IN_FLIGHT": "1"}
    schedule["AzureWebJobs.tend_queries.Disabled"] = "true"  # it may be past due as well
    world.write_exports(world.table(start=world.at(-5), lag=world.lag(-4)))
    with world.running(schedule) as app:
        app.export()
    assert world.hours() == [(-5, -4)]

    _let_the_timer_have_run_last(world, "export_log_analytics", hours_ago=3)
    world.write_exports(world.table(start=world.at(-5)))
    with world.running(schedule | one_at_a_time) as app:
        app.process.wait_for(r"Executed 'Functions\.export_log_analytics' \(Succeeded")
        app.wait_until_idle()
        runs = app.lines("Executing 'Functions.export_log_analytics'")
        past_due = app.lines("IsPastDue")
    assert len(past_due) == 1
    assert len(runs) <= 2, "the catch-up run, and perhaps a regular one if it is the fifth minute just now"
    assert world.hours() == [(-5, -4), (-4, -3), (-3, -2), (-2, -1), (-1, 0)]
    assert world.ids() == world.events_at_source(-5)


def test_what_is_fresh_lands_before_what_is_old(world: World) -> None:
    """The newest window comes first; then tables go backwards, and audits, which Graph forgets, forwards."""
    world.write_exports(world.table(start=world.at(-4)), world.audits(start=world.at(-4)))
    with world.running({"EXPORT_LOG_ANALYTICS_MAX_IN_FLIGHT": "1"}) as app:
        app.export("log_analytics")
        app.export("entra")
    order = {
        name: [
            (blob.window[0] - world.end) // HOUR
            for blob in sorted(world.landed(name), key=lambda blob: blob.metadata["exported_at"])
        ]
        for name in ("events", "audits")
    }
    assert order == {"events": [-1, -2, -3, -4], "audits": [-1, -4, -3, -2]}


def test_a_lost_list_of_windows_in_flight_loses_nothing(world: World) -> None:
    """Deleted between two runs, while windows are queued, the list is made anew; each row is there once."""
    world.write_exports(world.table())
    with world.running({"AzureWebJobs.export_window.Disabled": "true"}) as app:
        app.run_timer()
        assert len(world.in_flight()) == world.queued() == 2
        world.state.delete_blob("in_flight/log_analytics.json")
        app.run_timer()
        assert len(world.in_flight()) == 2
        assert world.queued() == 4
    with world.running() as app:
        app.wait_until_idle()
        assert len(app.lines("window exported")) == 3
        world.state.delete_blob("in_flight/log_analytics.json")
        before = [blob.etag for blob in world.landed()]
        app.export()
    assert [blob.etag for blob in world.landed()] == before
    assert world.ids() == world.events_at_source()


def test_a_cleared_queue_delays_windows_and_loses_none(world: World) -> None:
    """Windows whose messages were deleted are not queued again before their entries expire, and then land."""
    world.write_exports(world.table())
    with world.running({"AzureWebJobs.export_window.Disabled": "true"}) as app:
        app.run_timer()
    world.queue.clear_messages()
    with world.running() as app:
        app.export()
        assert world.landed() == []
        world.age_in_flight(minutes=20)
        app.export()
        assert world.landed() == []
        world.age_in_flight()
        app.export()
    assert world.hours() == [(-3, -2), (-2, -1), (-1, 0)]
    assert world.ids() == world.events_at_source()


def test_rows_that_keep_coming_land_once(world: World) -> None:
    """With windows of two seconds and a timer every second, rows that come meanwhile land, late ones too."""
    start = now() // SECOND * SECOND
    world.write_exports(world.table(window="2s", lag="1s", start=instant(start)))
    added = 0
    with world.running({"EXPORT_LOG_ANALYTICS_SCHEDULE": "* * * * * *"}) as app:
        until = time.monotonic() + 7
        while time.monotonic() < until:
            late = 5 * HOUR if added % 3 == 0 else 0
            row = {"TimeGenerated": instant(now() - late), "Computer": f"row-{added}"}
            added += world.cloud.add_rows("Event", [row])
            time.sleep(0.1)
        last, deadline = now(), time.monotonic() + 30
        while sum(end - begin for begin, end in world.windows()) <= last - start:
            assert time.monotonic() < deadline, app.console
            time.sleep(0.2)
        assert app.lines(r"Executed 'Functions\..*\(Failed") == []
    windows = world.windows()
    assert windows[0][0] == start
    assert all(earlier[1] == later[0] for earlier, later in itertools.pairwise(windows))
    begin, end = ((tick - world.end) / HOUR for tick in (start, windows[-1][1]))
    assert world.ids() == world.events_at_source(begin, end)
    landed = [str(row["Computer"]) for blob in world.landed() for row in blob.rows]
    assert {f"row-{number}" for number in range(added)} <= set(landed)


def _let_the_timer_have_run_last(world: World, function: str, hours_ago: int) -> None:
    """Make a timer's status what a host leaves that was switched off so long ago."""
    name = f"timers/{world.container}/Host.Functions.{function}/status"
    five = 5 * MINUTE
    last = now() // five * five - hours_ago * HOUR
    moments = {"Last": last, "Next": last + five, "LastUpdated": last}
    text = json.dumps({key: instant(at).replace("Z", "+00:00") for key, at in moments.items()})
    world.host_blobs.upload_blob(name, text, overwrite=True)
