"""Every source, side by side in one exports file, through the real host; and Graph at its documented rate."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from local.azurite import Azurite
from local.cloud import Cloud, Limits, Options
from local.compare import SECOND, ticks
from tests.e2e.conftest import SMALL
from tests.e2e.harness import HOUR, World, entry


def records_between(world: World, records: list[dict[str, object]], time_field: str) -> Counter[str]:
    """The ids of the records of the three hours that the exports cover."""
    first, last = world.end - 3 * HOUR, world.end
    return Counter(str(each["id"]) for each in records if first <= ticks(str(each[time_field])) < last)


def test_every_source_lands_whole(world: World) -> None:
    """Each in its own way, none in the way of another: the same records as the services hold."""
    cloud = world.cloud
    cloud.set_limits(audit_search_seconds=0.0, audit_search_start=0.0)
    workspace = cloud.identity.workspace_resource_id
    shift = f"{world.end % (3 * HOUR) // SECOND}s"  # so that one window of three hours is what is looked at
    times = {"lag": world.lag(), "start": world.at(-3), "recheck": [], "offset": shift}
    logs = {"sign-ins": {"log": "signIns"}, "services": {"log": "signIns", "events": "servicePrincipal"},
            "provisioned": {"log": "provisioning"}, "risks": {"log": "riskDetections"}}  # fmt: skip
    world.write_exports(
        world.table(recheck=[]),
        *(entry({"name": name, "source": "entra", "window": "3h", **log, **times})
          for name, log in logs.items()),
        entry({"name": "unified", "source": "audit_search", "window": "3h", **times}),
        entry({"name": "activity", "source": "aad_graph", "tenant": "%AZURE_TENANT_ID%", "window": "3h",
               "format": "pages", **times}),
        entry({"name": "old-search", "source": "log_analytics_search", "resource": workspace,
               "query": "Type=Event", "window": "3h", **times}),
        entry({"name": "by-resource", "source": "log_analytics", "resource": workspace, "route": "arm",
               "table": "Event", "window": "3h", **times}),
        entry({"name": "archive", "source": "search_jobs", "resource": workspace, "table": "Event",
               "window": "3h", "offset": shift, "lag": world.lag(), "start": world.at(-3)}),
    )  # fmt: skip
    with world.running() as app:
        app.export()
        app.export("entra")
    assert world.ids() == world.events_at_source()
    assert world.ids("by-resource") == world.events_at_source()
    signs = cloud.records("signIns")
    kinds = {"sign-ins": "interactiveUser", "services": "servicePrincipal"}
    for name, kind in kinds.items():
        own = [each for each in signs if kind in each["signInEventTypes"]]
        assert world.ids(name) == records_between(world, own, "createdDateTime")
    assert world.ids("provisioned") == records_between(
        world, cloud.records("provisioning"), "activityDateTime"
    )
    assert world.ids("risks") == records_between(world, cloud.records("riskDetections"), "detectedDateTime")
    assert world.ids("unified") == records_between(world, cloud.search_records(), "createdDateTime")
    by_time = Counter(
        str(row["_ItemId"])
        for row in cloud.rows("Event")
        if world.end - 3 * HOUR <= ticks(str(row["TimeGenerated"])) < world.end
    )
    assert world.ids("archive") == by_time
    assert sum(world.ids("old-search").values()) == sum(by_time.values())
    (manifest,) = world.landed("activity")
    assert int(manifest.metadata["rows"]) == sum(
        records_between(world, cloud.activities("audit"), "activityDate").values()
    )
    pages = [
        world.data.download_blob(page["name"]).readall() for page in json.loads(manifest.content)["pages"]
    ]
    assert all("value" in json.loads(page) for page in pages)
    assert [each for each in cloud.search_tables() if each["state"] != "Deleting"] == []


@pytest.mark.timeout(180)
def test_a_backfill_of_graph_runs_at_its_rate_without_a_429(tmp_path: Path, azurite: Azurite) -> None:
    """Five requests in ten seconds, kept by the app: the stand-in counts, and never has to refuse."""
    options = Options(
        events=0, audits=60, audit_days=0.25, sign_ins=40, provisionings=0, risk_detections=20,
        # Requests travel for different times: a second less than the ten is not exceeded by that.
        limits=Limits(retention_days=None, report_seconds=9),
    )  # fmt: skip
    assert (options.limits.reports, Limits().report_seconds) == (5, 10)
    assert SMALL.limits.reports is None
    folder = tmp_path / "paced"
    folder.mkdir()
    with Cloud(options, folder=tmp_path / "cloud") as cloud:
        world = World(folder, azurite, cloud)
        lag = world.lag(margin=5)
        keys = {"source": "entra", "window": "30m", "lag": lag, "start": world.at(-3), "recheck": []}
        world.write_exports(
            world.audits(window="30m", lag=lag, recheck=[]),
            entry({"name": "sign-ins", "log": "signIns", **keys}),
            entry({"name": "risks", "log": "riskDetections", **keys}),
        )
        with world.running({"EXPORT_GRAPH_REQUESTS": ""}) as app:
            app.export("entra")
        asked = [seen for seen in cloud.requests if seen.api == "graph"]
        assert [seen.status for seen in asked] == [200] * len(asked)
        assert len(asked) >= 18
        assert world.ids("audits") == world.audits_at_source()
        reports = [seen.time for seen in asked if "riskDetections" not in seen.path]
        assert 2.05 * (len(reports) - 1) - 1 <= reports[-1] - reports[0]
        world.close()
