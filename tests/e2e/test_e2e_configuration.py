"""Mistakes in settings and exports are said clearly, and cost no more than they must."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from local.azurite import Azurite
from local.cloud import INGESTION_TIME, Cloud
from local.cloud.tables import TABLES
from local.compare import Stored, Truth, certainly_due, differences, read_exports
from local.environment import ROOT
from tests.e2e.harness import World, now
from tests.processes import write_program


def test_a_wrong_export_disables_itself_and_no_other(world: World) -> None:
    """Each mistake is an error that names export, key and expectation; health is degraded; the rest lands."""
    world.write_exports(
        world.table("wrong", window="8d", colour="blue"),
        world.table("no-rows", pipeline="summarize count() by Computer"),
        world.table(),
    )
    with world.running() as app:
        app.export()
        errors = "\n".join(app.lines("ERROR"))
        health = app.get("/api/health").json()
    assert "'wrong': window: found '8d'; expected" in errors
    assert "'wrong': colour: found" in errors
    assert "'no-rows': pipeline: found the operator 'summarize'; expected" in errors
    assert "'events'" not in errors
    assert (health["status"], health["exports"]) == ("degraded", 1)
    assert world.landed("wrong") == world.landed("no-rows") == []
    assert world.ids() == world.events_at_source()


def test_without_an_exports_file_questions_are_still_answered(world: World) -> None:
    """The missing file is an error in the console and degrades health; nothing is exported."""
    with world.running() as app:
        app.export()
        (error,) = app.lines("ERROR")
        assert str(world.folder / "exports.toml") in error
        assert "EXPORTS_FILE" in error
        assert app.get("/api/health").json()["status"] == "degraded"
        assert app.post("/api/query", {"query": "Event | count"}).status_code == 200


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"AzureWebJobsStorage": ""}, ["AzureWebJobsStorage", "UseDevelopmentStorage=true"]),
        (
            {"AZURE_CLOUD": "mars", "EXPORT_CREDENTIAL": "key", "EXPORT_ENTRA_MAX_IN_FLIGHT": "none"},
            ["AZURE_CLOUD", "'mars'", "usgov", "EXPORT_CREDENTIAL", "'key'", "EXPORT_ENTRA_MAX_IN_FLIGHT"],
        ),
        ({"AZURE_CLIENT_SECRET": ""}, ["AZURE_CLIENT_SECRET", "client_secret"]),
    ],
)  # fmt: skip
def test_wrong_settings_stop_the_app_with_their_names(
    world: World, settings: dict[str, str], named: list[str]
) -> None:
    """The host ends with every wrong setting, what was found and what was expected, and runs nothing."""
    world.write_exports(world.table())
    with world.started(settings) as process:
        assert process.wait() == 1
        for text in named:
            assert text in process.text
        assert "Executing" not in process.text
    assert world.landed() == []


def test_a_name_never_holds_two_sources(world: World, tmp_path: Path, azurite: Azurite, cloud: Cloud) -> None:
    """Another workspace, or another table, under a name that is taken is refused; the error names both."""
    world.write_exports(world.table())
    with world.running() as app:
        app.export()
    before = [(blob.name, blob.etag) for blob in world.landed()]
    folder = tmp_path / "another app"
    folder.mkdir()
    other = World(folder, azurite, cloud, container=world.container)
    for entry, ours, theirs in (
        (other.table(workspace=cloud.foreign_workspace_id), cloud.workspace_id, cloud.foreign_workspace_id),
        (other.table(table="Heartbeat"), "Event", "Heartbeat"),
    ):
        other.write_exports(entry.replace(other.lag(), other.lag(1)), other.audits())
        cloud.clear_requests()
        with other.running() as app:
            app.export("log_analytics", "entra")
            (refusal,) = app.lines("ERROR export disabled")
            assert "'events'" in refusal
            assert ours in refusal
            assert theirs in refusal
        assert [seen for seen in cloud.requests if seen.api == "log_analytics"] == []
    other.close()
    assert [(blob.name, blob.etag) for blob in world.landed()] == before
    assert world.ids("audits") == world.audits_at_source(), "the neighbour in the same file was exported"


@pytest.mark.skipif(sys.platform == "win32", reason="the made-up Azure CLI is a script with a shebang line")
def test_the_example_settings_filled_in_run_the_shipped_exports(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its placeholders replaced and the stand-in's addresses, it signs in with the CLI and exports."""
    example = json.loads((ROOT / "local.settings.example.json").read_text(encoding="utf-8"))["Values"]
    filled = {name: world.settings[name] if text.startswith("<") else text for name, text in example.items()}
    assert filled["EXPORT_CREDENTIAL"] == "azure_cli"
    addresses = ("LOG_ANALYTICS_ENDPOINT", "GRAPH_ENDPOINT", "AZURE_AUTHORITY_HOST", "REQUESTS_CA_BUNDLE")
    only = ("AzureWebJobsStorage", "EXPORT_CONTAINER", "AzureFunctionsWebHost__hostid", *addresses)
    world.settings = {**filled, **{name: world.settings[name] for name in only}}
    world.settings["AzureWebJobs.export_entra.Disabled"] = "true"  # a week of hours would take its time
    cli = _made_up_cli(world.folder / "bin", world.cloud)
    monkeypatch.setenv("PATH", str(cli.parent), prepend=":")
    began = now()
    with world.running() as app:
        app.export()
    events = next(each for each in read_exports(ROOT / "exports.toml") if each.name == "windows-events")
    truth = Truth(
        tables={"Event": world.cloud.rows("Event")}, columns=TABLES, audits=[],
        ingested=lambda row: None if row[INGESTION_TIME] is None else str(row[INGESTION_TIME]),
    )  # fmt: skip
    blobs = [Stored(blob.name, blob.metadata, blob.content) for blob in world.landed(events.name)]
    assert differences(events, truth, blobs, certainly_due(events, began, now())) == []
    assert sum(int(blob.metadata["rows"]) for blob in blobs) > 0


def _made_up_cli(folder: Path, cloud: Cloud) -> Path:
    """Write an `az` that answers `account get-access-token` with a token of the stand-in's."""
    folder.mkdir()
    program = folder / "az"
    write_program(
        program,
        f"""import json, ssl, sys, time, urllib.parse, urllib.request
resource = next(sys.argv[i + 1] for i, word in enumerate(sys.argv) if word in ("--resource", "--scope"))
form = {{"grant_type": "client_credentials", "scope": resource.removesuffix("/.default") + "/.default",
        "client_id": {cloud.client_id!r}, "client_secret": {cloud.client_secret!r}}}
answer = urllib.request.urlopen("{cloud.url}/{cloud.tenant_id}/oauth2/v2.0/token",
                                urllib.parse.urlencode(form).encode(),
                                context=ssl.create_default_context(cafile={str(cloud.ca_file)!r}))
token = json.load(answer)
expires = int(time.time()) + token["expires_in"]
local = time.strftime("%Y-%m-%d %H:%M:%S.000000", time.localtime(expires))
print(json.dumps({{"accessToken": token["access_token"], "expiresOn": local, "expires_on": expires}}))
""",
    )
    return program
