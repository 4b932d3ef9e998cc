"""Every log of Microsoft Graph lands whole, each in its own grammar, whatever Graph does on the way."""

from __future__ import annotations

from typing import Any

import pytest

from local.cloud.graph_logs import LOGS
from local.compare import ticks
from tests.completeness.conftest import MakeWorld
from tests.completeness.truth import Timed
from tests.completeness.world import NO_RATES, World, at, small_pages_of

KINDS_OF_EVENT = {
    "interactive": "interactiveUser",
    "nonInteractive": "nonInteractiveUser",
    "servicePrincipal": "servicePrincipal",
    "managedIdentity": "managedIdentity",
}
TIMES = {
    "directoryAudits": "activityDateTime",
    "signIns": "createdDateTime",
    "provisioning": "activityDateTime",
    "riskDetections": "detectedDateTime",
}
EDGES = ["10:00:00", "10:59:59.9999999", "11:00:00", "11:00:00.0000001", "11:30:00.5"]


def fill(world: World, log: str, **values: Any) -> None:
    """Put records on the edges of windows, and others between them, into a log."""
    instants = [*EDGES, *(f"{hour}:{minute:02}:07.25" for hour in (10, 11) for minute in range(1, 13))]
    world.cloud.add_records(
        log,
        [
            {"id": f"{log}-{number}-{'-'.join(map(str, values))}", TIMES[log]: at(instant), **values}
            for number, instant in enumerate(instants)
        ],
    )


def truth(world: World, log: str) -> list[Timed]:
    """The records of a log as v1.0 shows them: sign-ins have fewer members there than in beta."""
    return [(tick, LOGS[log].shown(row, "v1.0")) for tick, row in world.records(log, TIMES[log])]


@pytest.mark.parametrize("log", ["directoryAudits", "provisioning", "riskDetections"])
def test_every_record_of_a_log_lands_once(world: World, log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pages, at the edges of windows, in any order that Graph sends them."""
    small_pages_of(monkeypatch)
    fill(world, log)
    world.start(world.log(log))
    world.drain()
    world.check(truth(world, log), export=log.lower())
    assert len(world.landed(log.lower())) == 2


@pytest.mark.parametrize("events", KINDS_OF_EVENT)
def test_every_kind_of_sign_in_lands_by_itself(
    world: World, events: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind is an export of its own, with just its own events."""
    small_pages_of(monkeypatch)
    for number, kind in enumerate(KINDS_OF_EVENT.values()):
        fill(world, "signIns", signInEventTypes=[kind], appDisplayName=f"app {number}")
    world.start(world.log("signIns", events=events))
    world.drain()
    ids = {row["id"] for blob in world.landed("signins") for row in blob.rows}
    own = {
        each["id"]
        for each in world.cloud.records("signIns")
        if each["signInEventTypes"] == [KINDS_OF_EVENT[events]]
    }
    assert ids == own
    assert len(own) == len(EDGES) + 24
    assert sum(len(blob.rows) for blob in world.landed("signins")) == len(own)


def test_a_users_filter_is_joined_to_the_windows(world: World) -> None:
    """Only what it selects lands; the windows stay whole."""
    fill(world, "directoryAudits", loggedByService="Core Directory")
    fill(world, "directoryAudits", loggedByService="PIM", category="x")
    world.start(world.log("directoryAudits", filter="loggedByService eq 'PIM' or loggedByService eq 'None'"))
    world.drain()
    expected = world.records("directoryAudits", "activityDateTime", loggedByService="PIM")
    world.check(expected, export="directoryaudits")


@pytest.mark.parametrize("log", list(TIMES))
@pytest.mark.parametrize(
    "fault",
    ["invalid_skip_token", "null_skip_token", "unsupported_query", "empty_skip_token", "expired_token",
     "503", "429", "truncate", "drop", "repeated_next_link", "wrong_content", "not_premium"],
)  # fmt: skip
def test_what_is_seen_in_the_field_costs_no_record(
    world: World, log: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure strikes in the middle of a walk and at its beginning."""
    small_pages_of(monkeypatch)
    fill(world, log)
    world.start(world.log(log))
    for nth in (1, 4):
        world.cloud.fail("graph", fault, nth=nth)
    world.drain()
    world.check(truth(world, log), export=log.lower())


@pytest.mark.parametrize("log", ["signIns", "riskDetections", "provisioning"])
def test_an_unlicensed_tenant_disables_only_that_export(make_world: MakeWorld, log: str) -> None:
    """Its neighbour is exported whole; the reason says what to buy; a licence later mends it by itself."""
    world = make_world()
    world.cloud.set_limits(premium=False)
    fill(world, log)
    fill(world, "directoryAudits")
    world.start(world.log(log), world.log("directoryAudits"))
    world.drain(timers=1)
    world.check(truth(world, "directoryAudits"), export="directoryaudits")
    assert world.landed(log.lower()) == []
    assert "licence" in world.coverage(log.lower())["denied"]
    world.cloud.set_limits(premium=True)
    world.pass_time(0.1)
    world.drain()
    assert sum(len(blob.rows) for blob in world.landed(log.lower())) == len(EDGES) + 24
    assert world.coverage(log.lower())["denied"] is None


def test_a_missing_consent_says_what_to_grant(world: World) -> None:
    """A 403 is not taken for a failure that passes, and not for a failure of the window."""
    fill(world, "directoryAudits")
    world.start(world.log("directoryAudits"))
    world.cloud.fail("graph", "missing_consent", count=None)
    world.drain(timers=1)
    coverage = world.coverage("directoryaudits")
    assert "AuditLog.Read.All" in coverage["denied"]
    assert coverage["failures"] == []
    asked = len([seen for seen in world.cloud.requests if seen.api == "graph"])
    assert asked == 1
    world.cloud.clear_faults()
    world.pass_time(0.1)
    world.drain()
    world.check(truth(world, "directoryAudits"), export="directoryaudits")


def test_a_consent_that_is_missing_at_the_token_says_so(world: World) -> None:
    """Entra ID gives no token for Graph, which is no failure of a window either, and mends by itself."""
    fill(world, "directoryAudits")
    world.start(world.log("directoryAudits"))
    world.cloud.fail("entra_id", "missing_consent", path="oauth2", count=None)
    world.drain(timers=1)
    coverage = world.coverage("directoryaudits")
    assert "AADSTS65001" in coverage["denied"]
    assert "/.default" in coverage["denied"]
    assert coverage["failures"] == []
    assert len([seen for seen in world.cloud.requests if "oauth2" in seen.path]) == 1
    world.cloud.clear_faults()
    world.pass_time(0.1)
    world.start(world.log("directoryAudits"))  # on a new host: azure-identity keeps a refusal for a minute
    world.drain()
    world.check(truth(world, "directoryAudits"), export="directoryaudits")


@pytest.mark.parametrize(
    ("log", "floor_error"),
    [
        ("directoryAudits", "named"),
        ("signIns", "named"),
        ("signIns", "invalid_filter"),
        ("provisioning", "named"),
        ("provisioning", "invalid_filter"),
    ],
)
def test_a_start_before_the_floor_is_recorded_as_unavailable(
    make_world: MakeWorld, log: str, floor_error: str
) -> None:
    """Whether Graph names how far it reaches or not, what lies before is not claimed, and the rest lands."""
    world = make_world()
    world.cloud.set_limits(retention_days=7, floor_error=floor_error)
    fill(world, log)
    world.start(world.log(log, start=at("00:00", "2026-02-20"), window="1d", lag="15m"))
    world.clock.tick = ticks(at("00:30", "2026-03-11"))
    world.drain()
    coverage = world.coverage(log.lower())
    assert coverage["gaps"] == []
    assert coverage["failures"] == []
    # Provisioning cannot be asked for what lies on the floor itself.
    floor = at("00:00:01" if log == "provisioning" else "00:00:00", "2026-03-04")
    assert coverage["unavailable"][-1]["end"] == floor
    assert sum(len(blob.rows) for blob in world.landed(log.lower())) == len(EDGES) + 24


def test_a_wrong_filter_is_no_floor(make_world: MakeWorld) -> None:
    """Graph refuses it of any time, so its windows fail, with Graph's words, and none is said to be gone."""
    world = make_world()
    world.cloud.set_limits(retention_days=7, floor_error="invalid_filter")
    fill(world, "signIns")
    start = at("00:00", "2026-02-20")
    world.start(world.log("signIns", start=start, window="7d", lag="15m", filter="status/errorCode gt 0"))
    world.clock.tick = ticks(at("00:30", "2026-03-11"))
    world.drain(timers=1)
    assert world.coverage("signins")["unavailable"] == []
    assert "Invalid filter clause" in world.documents("signins/failures/")[0]["error"]


def test_risk_detections_before_their_retention_are_not_claimed(world: World) -> None:
    """Graph leaves them out without a word, so the export's own retention says from when on it can know."""
    fill(world, "riskDetections")
    world.start(world.log("riskDetections", start=at("00:00", "2026-01-20"), window="1d", lag="15m"))
    world.clock.tick = ticks(at("00:30", "2026-03-11"))
    world.drain()
    assert world.coverage("riskdetections")["unavailable"][-1]["end"] > at("00:00:00", "2026-02-09")


def test_a_record_with_risk_that_changed_is_kept_in_both_forms(world: World) -> None:
    """A second event with the same id and a risk is documented; a recheck adds it beside the first."""
    fill(world, "signIns")
    world.start(world.log("signIns"))
    world.drain()
    world.cloud.replace_record("signIns", world.cloud.records("signIns")[0]["id"], {"riskState": "atRisk"})
    world.clock.tick = ticks(at("13:20"))
    world.drain()
    rows = [row for blob in world.landed("signins") for row in blob.rows]
    assert len(rows) == len(EDGES) + 25
    assert len({row["id"] for row in rows}) == len(EDGES) + 24


def test_the_licence_error_of_a_licensed_tenant_passes(make_world: MakeWorld) -> None:
    """Nine of ten calls got it once; a few attempts are worth their while before the export rests."""
    world = make_world(limits=NO_RATES)
    fill(world, "signIns")
    world.start(world.log("signIns"))
    world.cloud.fail("graph", "not_premium", count=4)
    world.drain(timers=1)
    world.check(truth(world, "signIns"), export="signins")
