"""What an export of Log Analytics is told: places, plans and routes, and every mistake in them."""

from __future__ import annotations

from typing import Any

import pytest

from shared.la_options import Options, check, identity, places
from tests.unit.test_arm_ids import WORKSPACE as RESOURCE

ONE, TWO = "12345678-1234-1234-1234-123456789abc", "AAAAAAAA-1234-1234-1234-123456789ABC"
SCANNED = {"plan": "basic", "window_column": "TimeGenerated"}


def options(**changes: Any) -> Options:
    """Return right options, with changes; a workspace unless another place is given."""
    place = {} if {"workspaces", "resource"} & changes.keys() else {"workspace": ONE}
    return Options(**({"table": "Event"} | place | changes))


@pytest.mark.parametrize(
    ("given", "paths", "tails"),
    [
        ({}, [("log_analytics", f"/v1/workspaces/{ONE}/query")], [""]),
        (
            {"workspaces": (TWO, ONE)},
            [("log_analytics", f"/v1/workspaces/{each}/query") for each in (ONE, TWO.lower())],
            [f"extend _WorkspaceId = '{ONE}'", f"extend _WorkspaceId = '{TWO.lower()}'"],
        ),
        ({"resource": RESOURCE}, [("log_analytics", f"/v1{RESOURCE}/query")], [""]),
        (
            {"resource": RESOURCE, "route": "arm"},
            [("arm", f"{RESOURCE}/providers/microsoft.insights/logs?api-version=2018-03-01-preview")],
            [""],
        ),
        (SCANNED, [("log_analytics", f"/v1/workspaces/{ONE}/search")], [""]),
    ],
)
def test_places(given: dict[str, Any], paths: list[tuple[str, str]], tails: list[str]) -> None:
    """Each place is asked by its own route, and rows of several name theirs, last of all."""
    found = places(options(**given))
    assert list(check(options(**given))) == []
    assert [(route.api, route.path) for route, _ in found] == paths
    assert [selection.tail for _, selection in found] == tails


def test_the_timespan_of_a_scan_stands_in_the_url() -> None:
    """Where queries are billed by what they scan the URL bounds them."""
    ((scan, _),) = places(options(**SCANNED))
    ((plain, _),) = places(options())
    assert scan.target("2026-01-01T00:00:00Z/P1D").endswith("/search?timespan=2026-01-01T00:00:00Z/P1D")
    assert plain.target("P1D").endswith("/query")


@pytest.mark.parametrize(
    ("given", "whose"),
    [
        ({"workspace": ONE.upper()}, {"workspace": ONE}),
        ({"workspaces": (TWO, ONE)}, {"workspace": f"{ONE},{TWO.lower()}"}),
        ({"resource": RESOURCE}, {"resource": RESOURCE.lower()}),
        ({"resource": RESOURCE.upper(), "route": "arm"}, {"resource": RESOURCE.lower()}),
    ],
)
def test_identity(given: dict[str, Any], whose: dict[str, str]) -> None:
    """Whose data it is does not depend on order, on letter case, or on the route."""
    assert identity(options(**given)) == {**whose, "table": "Event"}


@pytest.mark.parametrize(
    ("wrong", "keys"),
    [
        ({"workspace": None}, ["workspace"]),
        ({"workspace": ONE, "resource": RESOURCE}, ["workspace"]),
        ({"workspace": ONE, "workspaces": (TWO,)}, ["workspace"]),
        ({"workspaces": ()}, ["workspaces"]),
        ({"workspaces": (ONE, "x")}, ["workspaces"]),
        ({"workspaces": (TWO, TWO.lower())}, ["workspaces"]),
        ({"workspaces": (ONE,), "table": None, "kql": "window_start window_end"}, ["workspaces"]),
        ({"resource": "/subscriptions/x"}, ["resource"]),
        ({"resource": f"{RESOURCE}/../x"}, ["resource"]),
        ({"route": "arm"}, ["route"]),
        ({"plan": "basic"}, ["window_column"]),
        ({"plan": "auxiliary"}, ["window_column"]),
        ({**SCANNED, "resource": RESOURCE}, ["plan"]),
        ({"plan": "basic", "table": None, "kql": "window_start window_end"}, ["plan", "window_column"]),
        ({**SCANNED, "pipeline": "where a in ((Other | project b))"}, ["pipeline"]),
        ({**SCANNED, "pipeline": "where a in (workspace('x').T)"}, ["pipeline"]),
        ({**SCANNED, "pipeline": "where a == 'b"}, ["pipeline"]),
        ({**SCANNED, "pipeline": "summarize count()"}, ["pipeline"]),
    ],
)
def test_mistakes(wrong: dict[str, Any], keys: list[str]) -> None:
    """Every mistake is reported with its key."""
    assert [key for key, _, _ in check(options(**wrong))] == keys


@pytest.mark.parametrize("pipeline", ["where a == '(|)'", "mv-expand b = dynamic({'a': 1}) | extend c = (1)"])
def test_what_a_scanned_table_allows(pipeline: str) -> None:
    """Steps of one row at a time are right in every plan."""
    assert list(check(options(**SCANNED, pipeline=pipeline))) == []
    assert list(check(options(pipeline=pipeline))) == []
