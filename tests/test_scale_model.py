"""The simulation of Flex Consumption keeps the limits that it is told, and counts what it says it counts."""

from dataclasses import replace

import pytest

from bench.scale_model import App, Case, Load, Plan, Prices, Service, cases, main, simulate

QUIET = App(
    max_in_flight=1,
    parallel_slices=1,
    processor_seconds_a_megabyte=0,
    processor_seconds_a_window=0,
    storage_seconds=0,
)
ONE_SLICE = Load(rows_a_window=1_000, answer_bytes_a_row=1_000)
"""A megabyte, in one answer."""


def test_one_window_takes_what_its_query_takes() -> None:
    """Without anything else to wait for, rows an hour follow from the service's own time."""
    service = Service(start_seconds=1.5, megabytes_a_second=2)
    found = simulate(Case(ONE_SLICE, service, QUIET), windows=10)
    assert found.seconds_a_window == pytest.approx(2)
    assert found.rows_an_hour == pytest.approx(1_000 * 1_800)
    assert found.used["running queries"] == pytest.approx(1 / 5)
    assert found.bottleneck == "windows in flight"


def test_a_window_costs_its_seconds_its_execution_and_its_calls() -> None:
    """By hand: two seconds of 2 GB, one execution, and the calls of storage with one block."""
    app = replace(QUIET, storage_lists=1, storage_reads=1, storage_writes=1, queue_calls=1)
    prices = Prices(0.1, 1.0, 10_000, 20_000, 30_000, 40_000)
    service = Service(start_seconds=1.5, megabytes_a_second=2)
    found = simulate(Case(ONE_SLICE, service, app, Plan(), prices), windows=1)
    a_window = 2 * 2 * 0.1 + 1e-6 + 2 * 1 + 1 * 2 + 1 * 3 + 1 * 4
    assert found.dollars_a_terabyte == pytest.approx(a_window * 1e6)


def test_no_more_queries_run_than_may() -> None:
    """With many in flight, five run at a time, all the time, and that is named."""
    app = replace(QUIET, max_in_flight=20)
    found = simulate(Case(ONE_SLICE, Service(start_seconds=1, megabytes_a_second=1e9), app), windows=200)
    assert found.rows_an_hour == pytest.approx(5 * 1_000 * 3_600, rel=0.05)
    assert found.bottleneck == "running queries"


def test_no_more_requests_are_sent_than_may_be() -> None:
    """Quick queries run into the rate limit, and are told so."""
    app = replace(QUIET, max_in_flight=5)
    quick = Service(start_seconds=0.01, megabytes_a_second=1e9)
    found = simulate(Case(ONE_SLICE, quick, app), windows=4_000)
    assert found.rows_an_hour == pytest.approx(1_000 * 200 / 30 * 3_600, rel=0.06)
    assert found.throttled
    assert found.bottleneck == "request rate"


def test_a_quarter_of_a_core_takes_four_times_as_long() -> None:
    """The smallest instance has a quarter of a core, and is busy where a whole one is not."""
    app = replace(QUIET, processor_seconds_a_window=10)
    service = Service(start_seconds=0, megabytes_a_second=1e9)
    large, small = (
        simulate(Case(ONE_SLICE, service, app, Plan(memory_megabytes=size)), windows=10)
        for size in (2048, 512)
    )
    assert (large.seconds_a_window, small.seconds_a_window) == pytest.approx((10, 40), rel=1e-6)
    assert small.bottleneck == "processor"


def test_more_instances_than_windows_in_flight_are_of_no_use() -> None:
    """One window runs an instance; what is in flight bounds them all."""
    two, forty = (simulate(Case(plan=Plan(instances=each))) for each in (2, 40))
    one = simulate(Case(plan=Plan(instances=1)))
    assert two.rows_an_hour == forty.rows_an_hour
    assert one.rows_an_hour < 0.7 * two.rows_an_hour


def test_a_window_beyond_the_apps_deadline_is_told() -> None:
    """A window that takes longer than a worker has is never finished, whatever the rate would be."""
    slow = Service(megabytes_a_second=0.1)
    assert simulate(Case(service=slow)).bottleneck == "the time for a window"


def test_every_case_of_the_document_can_be_simulated(capsys: pytest.CaptureFixture[str]) -> None:
    """Also from the command line, with figures of one's own."""
    assert all(simulate(case).rows_an_hour > 0 for _, case in cases())
    assert main(["--max-in-flight", "3", "--memory-megabytes", "512"]) == 0
    assert "as given" in capsys.readouterr().out
