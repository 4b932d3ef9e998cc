"""Data that change at the source: rows purged or late, audits removed or altered, a wrong clock."""

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from local.cloud import INGESTION_TIME, Cloud, ControlClient, Options
from tests.cloud.caller import END, NO_RATES, Caller

TICK = "2026-11-21T10:00:00.0000001Z"


def test_rows_are_removed_by_number(caller: Caller) -> None:
    """The first to arrive go first, and never more than there are."""
    before = caller.cloud.rows("Event")
    assert caller.cloud.remove_rows("Event", 3) == 3
    assert caller.cloud.rows("Event") == before[3:]
    assert caller.rows("Event | count") == [[17]]
    assert caller.cloud.remove_rows("Event", 100) == 17
    assert caller.rows("Event | count") == [[0]]


def test_rows_are_removed_by_a_condition(caller: Caller) -> None:
    """Any KQL condition, exact to the tick and with ingestion times; of twins exactly those it meets."""
    twin = {"TimeGenerated": TICK, "_ItemId": "same", "Source": "twin"}
    caller.cloud.add_rows("Event", [twin, twin | {INGESTION_TIME: "2026-11-21T11:00:00Z"}], ingested=TICK)
    condition = f"TimeGenerated == datetime({TICK}) and ingestion_time() == datetime({TICK})"
    assert caller.cloud.remove_rows("Event", condition) == 1
    (left,) = [row for row in caller.cloud.rows("Event") if row["Source"] == "twin"]
    assert left[INGESTION_TIME] == "2026-11-21T11:00:00Z"
    assert caller.cloud.remove_rows("Event", "_ItemId == 'same'") == 1
    assert caller.rows("Event | count") == [[20]]


@pytest.mark.parametrize(
    ("table", "which"), [("Nope", 1), ("Event", "Nope == 1"), ("Event", "EventID =="), ("Event", "search 1")]
)
def test_a_wrong_removal_is_refused(cloud: Cloud, table: str, which: int | str) -> None:
    """An unknown table or a condition that cannot be run is a ValueError and removes nothing."""
    with pytest.raises(ValueError, match=r"no table 'Nope'|cannot remove the rows of Event"):
        cloud.remove_rows(table, which)
    assert len(cloud.rows("Event")) == 20


def test_no_query_can_see_what_removals_need(caller: Caller) -> None:
    """The view with row numbers is not part of the workspace."""
    assert caller.query("['Event numbered']").status_code == 400


def test_rows_can_become_visible_long_after_their_ingestion(tmp_path: Path) -> None:
    """Queries see them from the instant on, not a tick before, with the ingestion time of the call."""
    start = now = datetime(2026, 11, 21, 10, tzinfo=UTC).timestamp()
    with Cloud(Options(events=1, audits=0, end=END, limits=NO_RATES), tmp_path, clock=lambda: now) as cloud:
        caller = Caller(cloud)
        late = {"Source": "late"}
        cloud.add_rows("Event", [late], visible_at="2026-11-21T10:20:00Z")
        cloud.add_rows("Event", [late], ingested=TICK, visible_at="2026-11-21T10:40:00Z")
        counts = []
        for minutes in (0, 19, 20, 40):
            now = start + 60 * minutes
            counts += caller.rows("Event | where Source == 'late' | count")[0]
        assert counts == [0, 0, 1, 2]
        stamps = caller.rows("Event | where Source == 'late' | project TimeGenerated, i = ingestion_time()")
        first = "2026-11-21T10:00:00Z"
        assert stamps == [[first, first], [first, TICK]]
        caller.session.close()


def test_rows_that_are_not_visible_yet_can_be_listed_and_are_checked(cloud: Cloud) -> None:
    """`rows` shows them as the last ones; a value that does not fit is refused when it is added."""
    cloud.add_rows("Event", [{"Source": "late"}], visible_at="9999-01-01T00:00:00Z")
    cloud.add_rows("Event", [{"Source": "soon"}])
    assert [row["Source"] for row in cloud.rows("Event")[-2:]] == ["soon", "late"]
    assert cloud.remove_rows("Event", "Source == 'late'") == 0
    with pytest.raises(ValueError, match="does not fit table Event"):
        cloud.add_rows("Event", [{"Correlation": "no guid"}], visible_at="9999-01-01T00:00:00Z")


def test_audits_are_removed_by_id(caller: Caller) -> None:
    """Only these, and an unknown id is no error."""
    before = caller.cloud.audits()
    gone = {before[0]["id"], before[7]["id"], "unknown"}
    assert caller.cloud.remove_audits(gone) == 2
    assert caller.cloud.audits() == [each for each in before if each["id"] not in gone]


def test_an_audit_can_change_its_body(caller: Caller) -> None:
    """It keeps what is not named; with another time it has another place."""
    first, *others = caller.cloud.audits()
    caller.cloud.replace_audit(first["id"], {"result": "failure", "resultReason": "late"})
    assert caller.cloud.audits() == [first | {"result": "failure", "resultReason": "late"}, *others]
    caller.cloud.replace_audit(first["id"], {"activityDateTime": "2020-01-01T00:00:00Z"})
    assert caller.cloud.audits()[-1]["id"] == first["id"]
    with pytest.raises(ValueError, match="no record of directoryAudits with the id 'unknown'"):
        caller.cloud.replace_audit("unknown", {})
    with pytest.raises(ValueError, match="needs an id"):
        caller.cloud.replace_audit(first["id"], {"activityDateTime": None})


def test_the_client_changes_the_same_things(cloud: Cloud) -> None:
    """Every change over HTTPS, from another process."""
    client = ControlClient(cloud.url, cloud.ca_file)
    assert client.add_rows("Event", [{"Source": "late"}], visible_at="9999-01-01T00:00:00Z") == 1
    assert client.remove_rows("Event", 2) == 2
    assert client.remove_rows("Event", "isnotnull(TimeGenerated)") == 18
    with pytest.raises(ValueError, match="cannot remove the rows"):
        client.remove_rows("Event", "Nope == 1")
    first, second, *_ = client.audits()
    assert client.remove_audits([first["id"]]) == 1
    client.replace_audit(second["id"], {"result": "changed"})
    assert client.audits()[0] == second | {"result": "changed"}
    client.set_limits(too_large="413")
    assert client.limits.too_large == "413"
    with pytest.raises(ValueError, match="cannot be 'huge'"):
        client.set_limits(too_large="huge")


@pytest.mark.parametrize("offset", [-3_600.0, 86_400.0])
def test_the_services_clock_can_be_wrong(tmp_path: Path, offset: float) -> None:
    """Every answer's Date is off by so much, errors and tokens included."""
    with Cloud(Options(events=1, audits=1, limits=NO_RATES, date_offset=offset), tmp_path) as cloud:
        caller = Caller(cloud)
        for answer in (caller.query("Event"), caller.query("Event |"), caller.audits()):
            ahead = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
            assert abs(ahead - offset) < 30
        caller.session.close()
