"""What goes wrong at the source costs time and no row; what stays wrong is recorded, and the rest goes on."""

from __future__ import annotations

from collections import Counter

from local.compare import SECOND, instant, ticks
from tests.e2e.harness import MINUTE, World, now


def test_passing_faults_of_log_analytics_cost_no_row(world: World) -> None:
    """Each kind of fault, once: throttled, failed, dropped, cut off, timed out, not JSON, token refused."""
    faults: tuple[tuple[str, int | str | None], ...] = (
        ("429", None), ("429", 1), ("429", "date"), ("408", None), ("500", None), ("502", None), ("503", 1),
        ("drop", None), ("truncate", None), ("expired_token", None), ("504", None), ("wrong_content", None),
    )  # fmt: skip
    for number, (kind, retry_after) in enumerate(faults):
        world.cloud.fail("log_analytics", kind, nth=1 + 2 * number, retry_after=retry_after)
    world.cloud.fail("entra_id", "503", path="token")
    world.write_exports(world.table(window="10m", lag=world.lag(margin=5)))
    with world.running() as app:
        app.export()
        assert len(app.lines("window exported")) == 18
    asked = [seen for seen in world.cloud.requests if seen.api == "log_analytics"]
    assert len(asked) >= 18 + len(faults), "each fault was met"
    assert len(world.windows()) == 18
    assert world.ids() == world.events_at_source()
    assert world.failures() == {}


def test_passing_faults_of_graph_cost_no_record(world: World) -> None:
    """The same for Graph, also in the middle of a walk: skip token refused, next link repeated, the usual."""
    world.cloud.add_audits([{"activityDateTime": world.at(-0.5)} for _ in range(1100)])  # a second page
    kinds = (
        "", "invalid_skip_token", "repeated_next_link", "429", "", "503", "", "drop", "truncate", "",
        "expired_token", "504",
    )  # fmt: skip
    for number, kind in enumerate(kinds, start=1):
        if kind:
            world.cloud.fail("graph", kind, nth=number)
    world.write_exports(world.audits())
    with world.running() as app:
        app.export("entra")
    asked = [seen for seen in world.cloud.requests if seen.api == "graph"]
    assert len(asked) > len(kinds), "each fault was met"
    assert world.hours("audits") == [(-3, -2), (-2, -1), (-1, 0)]
    assert world.ids("audits") == world.audits_at_source()
    assert world.failures("audits") == {}


def test_tokens_that_expire_under_way_are_renewed(world: World) -> None:
    """When every token issued so far is refused, an API is asked once in vain, and then with a new token."""
    world.write_exports(world.table(window="10m", lag=world.lag(margin=5)), world.audits())
    world.cloud.fail("log_analytics", "slow", count=None, seconds=0.1)
    with world.running() as app:
        app.run_timer("log_analytics")
        app.process.wait_for("window exported")
        world.cloud.expire_tokens()
        app.export("entra")
        answer = app.post("/api/query", {"query": "Event | count", "timespan": "P1D"})
        assert answer.status_code == 200, answer.text
    assert [seen.api for seen in world.cloud.requests if seen.status == 401].count("log_analytics") == 1
    assert world.ids() == world.events_at_source()
    assert world.ids("audits") == world.audits_at_source()


def test_an_answer_that_was_cut_off_is_not_taken(world: World) -> None:
    """The rows of a PartialError are never stored as if they were all: whatever lands, lands whole."""
    for nth in (1, 2, 4):
        world.cloud.fail("log_analytics", "partial", nth=nth)
    world.write_exports(world.table())
    with world.running({"EXPORT_LOG_ANALYTICS_MAX_IN_FLIGHT": "1"}) as app:
        for _ in range(4):
            app.export()
            landed = sum((world.events_at_source(*hours) for hours in world.hours()), Counter[str]())
            assert world.ids() == landed
            world.let_failures_rest_no_longer()
    assert world.hours() == [(-3, -2), (-2, -1), (-1, 0)]
    assert world.ids() == world.events_at_source()


def test_a_window_that_is_refused_rests_and_is_tried_again(world: World) -> None:
    """What no redelivery can mend is recorded at once; the others land; it lands when its time has come."""
    world.cloud.fail("log_analytics", "404")
    world.write_exports(world.table())
    with world.running({"EXPORT_LOG_ANALYTICS_MAX_IN_FLIGHT": "1"}) as app:
        app.export()
        assert world.hours() == [(-3, -2), (-2, -1)]
        (failure,) = world.failures().values()
        assert "404" in failure["error"]
        assert 4 * MINUTE < ticks(failure["next_try"]) - now() <= 5 * MINUTE
        app.export()
        assert world.hours() == [(-3, -2), (-2, -1)], "it rests"
        world.let_failures_rest_no_longer()
        app.export()
        assert world.hours() == [(-3, -2), (-2, -1), (-1, 0)]
        app.export()
    assert world.failures() == {}, "it is forgotten once the window is stored"
    assert world.ids() == world.events_at_source()


def test_a_window_that_keeps_failing_holds_up_no_other(world: World) -> None:
    """After five deliveries it goes to the poison queue and is recorded, later each time; the others land."""
    start = world.end - 120 * MINUTE
    world.cloud.fail("graph", "wrong_content", path=f"ge%20{instant(start - SECOND)}", count=None)
    world.write_exports(world.audits())
    with world.running() as app:
        for times, pause in ((1, 5), (2, 10)):
            app.export("entra")
            assert len(app.lines("Moving message to queue 'export-windows-poison'")) == times
            assert len(app.lines(r"ERROR window failed .*attempt=5 ")) == times
            assert len(app.lines(rf"ERROR window given up .*times={times} ")) == 1
            assert world.hours("audits") == [(-3, -2), (-1, 0)]
            (failure,) = world.failures("audits").values()
            assert failure["times"] == str(times)
            assert (pause - 1) * MINUTE < ticks(failure["next_try"]) - now() <= pause * MINUTE
            world.let_failures_rest_no_longer("audits")
        world.cloud.clear_faults()
        app.export("entra")
    assert world.hours("audits") == [(-3, -2), (-2, -1), (-1, 0)]
    assert world.ids("audits") == world.audits_at_source()
