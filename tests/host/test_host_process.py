"""How the host begins and ends: clear errors, a graceful stop, time-outs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from tests.host.harness import ROOT, HostProcess, write_app

APP = """
import logging
import os
import time

import azure.functions as func

app = func.FunctionApp()


@app.route("sleep/{seconds}")
def sleep(req: func.HttpRequest) -> str:
    logging.info("sleeping")
    time.sleep(float(req.route_params["seconds"]))
    logging.info("awake")
    return "x" * 1_000_000


@app.route("setting/{name}")
def setting(req: func.HttpRequest) -> str:
    return os.environ.get(req.route_params["name"], "not set")
"""

QUEUE_APP = """
import logging
import time

import azure.functions as func

app = func.FunctionApp()


@app.queue_trigger(arg_name="message", queue_name="%QUEUE%", connection="AzureWebJobsStorage")
def work(message: func.QueueMessage) -> None:
    logging.info("working")
    time.sleep(60)
"""


def test_running_request_is_answered_before_the_host_ends(tmp_path: Path) -> None:
    """SIGTERM, or Ctrl-Break on Windows: what runs may finish, and the exit code is 0."""
    with HostProcess(write_app(tmp_path, APP)).started() as host:
        answers: list[str] = []
        caller = threading.Thread(target=lambda: answers.append(host.get("/api/sleep/0.7").text))
        caller.start()
        host.wait_for("sleeping")
        assert host.stop() == 0
        caller.join()
        assert answers == ["x" * 1_000_000]
        assert host.lines[-1].endswith("Host stopped")


@pytest.mark.skipif(os.name == "nt", reason="a process cannot send Ctrl-C to one other process there")
def test_ctrl_c_ends_the_host_with_0(tmp_path: Path) -> None:
    """The usual way for a person to end it."""
    with HostProcess(write_app(tmp_path, APP)).started() as host:
        host.process.send_signal(signal.SIGINT)
        assert host.wait() == 0


def test_function_that_does_not_end_is_cut_off(tmp_path: Path) -> None:
    """The host waits a few seconds for it and then ends all the same."""
    with HostProcess(write_app(tmp_path, APP)).started() as host:
        threading.Thread(target=lambda: _ignore_errors(host, "/api/sleep/60"), daemon=True).start()
        host.wait_for("sleeping")
        assert host.stop() == 0
        host.wait_for("1 still running after 5 s")


def test_function_over_its_time_fails_and_ends_the_host(tmp_path: Path, azurite: Azurite) -> None:
    """A thread cannot be stopped, so the host ends with exit code 3; the message is back in its queue."""
    settings = {"AzureWebJobsStorage": azurite.connection_string, "QUEUE": "time-out"}
    app = write_app(tmp_path, QUEUE_APP, {"functionTimeout": "00:00:01"})
    with (
        QueueClient.from_connection_string(azurite.connection_string, "time-out") as queue,
        HostProcess(app, settings=settings).started() as host,
    ):
        queue.send_message(b64encode(b"x").decode())
        host.wait_for("Timeout value of 0:00:01 exceeded by function 'Functions.work'")
        assert host.wait() == 3
        assert [message.dequeue_count for message in queue.peek_messages()] == [1]


def test_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    """It says which port, and what to do."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with HostProcess(write_app(tmp_path, APP), port=port) as host:
            assert host.wait() == 1
            assert f"Port {port} is not available" in host.text
            assert "--port" in host.text
            assert "Traceback" not in host.text


def test_port_can_be_used_again_at_once(tmp_path: Path) -> None:
    """A stopped host leaves nothing behind that keeps the port."""
    app = write_app(tmp_path, APP)
    with HostProcess(app).started() as first:
        port = urlsplit(first.url).port or 0
        first.get("/api/setting/PATH")
        assert first.stop() == 0
    with HostProcess(app, port=port).started() as second:
        assert second.url.endswith(f":{port}")


def test_local_settings_reach_the_app(tmp_path: Path) -> None:
    """The file beside the app, below the environment; and what `func start` sets."""
    app = write_app(tmp_path, APP)
    values = {"FROM_FILE": "file", "BOTH": "file"}
    (app / "local.settings.json").write_text(json.dumps({"Values": values}), encoding="utf-8")
    with HostProcess(app, settings={"BOTH": "environment"}).started() as host:
        assert host.get("/api/setting/FROM_FILE").text == "file"
        assert host.get("/api/setting/BOTH").text == "environment"
        assert host.get("/api/setting/AZURE_FUNCTIONS_ENVIRONMENT").text == "Development"


def test_settings_file_can_be_named(tmp_path: Path) -> None:
    """With --settings, for another account than the usual one."""
    other = tmp_path / "other settings.json"
    other.write_text('{"Values": {"FROM_FILE": "other"}}', encoding="utf-8")
    with HostProcess(write_app(tmp_path / "app", APP), "--settings", str(other)).started() as host:
        assert host.get("/api/setting/FROM_FILE").text == "other"


def test_app_that_cannot_be_imported_is_shown_with_its_traceback(tmp_path: Path) -> None:
    """The developer sees the line."""
    with HostProcess(write_app(tmp_path, "import no_such_module\n")) as host:
        assert host.wait() == 1
        assert "could not be loaded" in host.text
        assert "import no_such_module" in host.text


@pytest.mark.parametrize(
    ("code", "says"),
    [("x = 1\n", "Could not find top level function app"),
     ("import azure.functions as func\napp = func.FunctionApp()\n", "No functions found")],
)  # fmt: skip
def test_app_without_functions_is_refused(tmp_path: Path, code: str, says: str) -> None:
    """There would be nothing to wait for."""
    with HostProcess(write_app(tmp_path, code)) as host:
        assert host.wait() == 1
        assert says in host.text


def test_storage_that_does_not_answer_is_a_clear_error(tmp_path: Path) -> None:
    """Most often, Azurite was not started."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/devstoreaccount1"
        storage = f"AccountName=devstoreaccount1;AccountKey=c2VjcmV0;QueueEndpoint={url};BlobEndpoint={url}"
        settings = {"AzureWebJobsStorage": storage, "QUEUE": "abc"}
        with HostProcess(write_app(tmp_path, QUEUE_APP), settings=settings) as host:
            assert host.wait(30) == 1
            assert "Start Azurite" in host.text
            assert "c2VjcmV0" not in host.text
            assert "Traceback" not in host.text


def test_connection_string_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    """It names the setting and does not show its value."""
    settings = {"AzureWebJobsStorage": "DefaultEndpointsProtocol", "QUEUE": "abc"}
    with HostProcess(write_app(tmp_path, QUEUE_APP), settings=settings) as host:
        assert host.wait() == 1
        assert "AzureWebJobsStorage is not set to a storage connection string" in host.text
        assert "Traceback" not in host.text


def test_http_functions_need_no_storage(tmp_path: Path) -> None:
    """An app without other triggers runs with nothing set."""
    with HostProcess(write_app(tmp_path, APP)).started() as host:
        assert host.get("/api/sleep/0").status_code == 200


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "65536"],
        ["--port", "x"],
        ["--queue-invisibility", "0"],
        ["--settings", "no such file"],
        ["--what"],
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str]) -> None:
    """With the usage, and exit code 2."""
    command = [sys.executable, "-m", "local.host", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def _ignore_errors(host: HostProcess, path: str) -> None:
    try:
        host.get(path)
    except OSError:
        return
