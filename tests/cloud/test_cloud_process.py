"""The stand-in as a process of its own, steered over HTTPS."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.cloud import INGESTION_TIME, Cloud, ControlClient
from local.cloud.control import _METHODS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A stand-in with few rows in a process."""
    command = [
        sys.executable,
        "-m",
        "local.cloud",
        "--folder",
        str(tmp_path / "a b"),
        "--events",
        "10",
        "--audits",
        "5",
    ]
    command += ["--end", "2026-11-21T12:00:00Z", "--seed", "3"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        yield running
        running.kill()


def test_a_process_says_when_it_is_ready_obeys_and_stops_cleanly(process: subprocess.Popen[str]) -> None:
    """One line of JSON, every control over HTTPS, and status 0 after SIGTERM."""
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert set(ready) == {"url", "ca_file", "environment"}
    client = ControlClient(ready["url"], ready["ca_file"])
    assert client.environment() == ready["environment"]
    assert client.workspace_id == ready["environment"]["LOG_ANALYTICS_WORKSPACE_ID"]
    assert client.tables() == ["Event", "Heartbeat", "SigninLogs", "AzureActivity"]
    assert len(client.rows("Event")) == 10
    late = "2026-11-21T12:00:00.0000001Z"
    assert client.add_rows("Event", [{"Computer": "ü"}], ingested=late) == 1
    assert client.rows("Event")[-1]["Computer"] == "ü"
    assert client.rows("Event")[-1][INGESTION_TIME] == late
    assert client.add_audits([{"id": "mine"}]) == 1
    assert len(client.audits()) == 6
    client.fail("graph", "500", path="x")
    client.clear_faults()
    client.set_limits(rows=7)
    assert client.limits.rows == 7
    client.expire_tokens()
    assert client.requests == []
    client.clear_requests()
    with pytest.raises(ValueError, match="no table 'Nope'"):
        client.rows("Nope")
    process.send_signal(signal.SIGTERM)
    # Windows has no SIGTERM that a process could see.
    assert process.wait(10) == (1 if sys.platform == "win32" else 0)


def test_a_taken_port_is_a_clear_error(cloud: Cloud, tmp_path: Path) -> None:
    """The message names the port; the status is not 0."""
    port = cloud.url.rsplit(":", 1)[1]
    command = [
        sys.executable,
        "-m",
        "local.cloud",
        "--folder",
        str(tmp_path),
        "--port",
        port,
        "--events",
        "0",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"could not start on port {port}" in done.stderr


def test_the_client_has_every_method_of_the_cloud() -> None:
    """A test can use either without a change."""
    assert {name for name in _METHODS if not hasattr(ControlClient, name)} == set()
    public = {name for name in vars(Cloud) if not name.startswith("_")}
    assert public <= set(vars(ControlClient))
