"""local.settings.json, host.json and `%SETTING%`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local.functions_host.settings import (
    HostConfig,
    HostError,
    QueueOptions,
    load_host_config,
    load_local_settings,
    parse_time_span,
    resolve,
)


def host_json(folder: Path, **content: Any) -> Path:
    """Write host.json; return its folder."""
    (folder / "host.json").write_text(json.dumps({"version": "2.0", **content}), encoding="utf-8")
    return folder


def test_values_are_added_and_never_overwrite(tmp_path: Path) -> None:
    """The environment wins over the file, and the file's port is returned."""
    path = tmp_path / "local.settings.json"
    text = json.dumps(
        {"IsEncrypted": False, "Values": {"A": "file", "B": "é"}, "Host": {"LocalHttpPort": 7075}}
    )
    path.write_text("\ufeff" + text, encoding="utf-8")
    environ = {"A": "environment"}
    assert load_local_settings(path, environ) == 7075
    assert environ == {"A": "environment", "B": "é"}


def test_missing_local_settings_are_no_error(tmp_path: Path) -> None:
    """Settings may all come from the environment."""
    environ: dict[str, str] = {}
    assert load_local_settings(tmp_path / "local.settings.json", environ) == 7071
    assert environ == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "one JSON object"),
        ('{"Values": []}', "Values must be an object"),
        ('{"Values": {"A": 1, "B": "x", "C": {}}}', "quotes around the value of 'A', 'C'"),
        ('{"IsEncrypted": true, "Values": {}}', "func settings decrypt"),
        ('{"Host": {"LocalHttpPort": "x"}}', "LocalHttpPort"),
        ('{"Host": {"LocalHttpPort": 65536}}', "LocalHttpPort"),
    ],
)
def test_local_settings_that_cannot_be_used_are_refused(tmp_path: Path, text: str, says: str) -> None:
    """The message names the file and what is wrong, and shows no value."""
    path = tmp_path / "local.settings.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HostError, match=says) as caught:
        load_local_settings(path, {})
    assert str(path) in str(caught.value)


def test_host_json_without_options_means_the_documented_defaults(tmp_path: Path) -> None:
    """Only the version is required."""
    assert load_host_config(host_json(tmp_path), {}) == HostConfig(
        "api", 1800.0, 15.0, QueueOptions(16, 8, 5, 0.0, 60.0, base64=True)
    )


def test_host_json_options_are_read(tmp_path: Path) -> None:
    """Each one that the host knows; the others are left alone."""
    queues = {
        "batchSize": 1, "newBatchThreshold": 0, "maxDequeueCount": 3, "visibilityTimeout": "00:01:30",
        "maxPollingInterval": "00:00:00.5", "messageEncoding": "None",
    }  # fmt: skip
    folder = host_json(
        tmp_path, functionTimeout="00:09:00", logging={"logLevel": {}},
        extensions={"http": {"routePrefix": "/v1/x/"}, "queues": queues},
        singleton={"listenerLockPeriod": "00:00:20"},
    )  # fmt: skip
    assert load_host_config(folder, {}) == HostConfig(
        "v1/x", 540.0, 20.0, QueueOptions(1, 0, 3, 90.0, 0.5, base64=False)
    )


def test_environment_overrides_host_json(tmp_path: Path) -> None:
    """AzureFunctionsJobHost__ and the path, as on Azure."""
    folder = host_json(tmp_path, functionTimeout="00:09:00", extensions={"queues": {"batchSize": 4}})
    environ = {
        "AzureFunctionsJobHost__extensions__queues__batchSize": "8",
        "AzureFunctionsJobHost__functionTimeout": "-1",
    }
    config = load_host_config(folder, environ)
    assert (config.queues.batch_size, config.function_timeout) == (8, None)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"version": "1.0"}, "version must be"),
        ({"version": None}, "version must be"),
        ({"functionTimeout": "5 minutes"}, "functionTimeout is '5 minutes'"),
        ({"functionTimeout": "00:00:00"}, "functionTimeout"),
        ({"functionTimeout": "24:00:00"}, "functionTimeout"),
        ({"functionTimeout": 300}, "functionTimeout"),
        ({"extensions": []}, "extensions"),
        ({"extensions": {"http": {"routePrefix": 5}}}, "routePrefix is 5"),
        (
            {"extensions": {"queues": {"batchSize": 33}}},
            "batchSize is 33; it must be a whole number from 1 to 32",
        ),
        ({"extensions": {"queues": {"batchSize": 0}}}, "batchSize"),
        ({"extensions": {"queues": {"batchSize": True}}}, "batchSize"),
        ({"extensions": {"queues": {"batchSize": 1.5}}}, "batchSize"),
        ({"extensions": {"queues": {"newBatchThreshold": -1}}}, "newBatchThreshold"),
        ({"extensions": {"queues": {"maxDequeueCount": 0}}}, "maxDequeueCount"),
        ({"extensions": {"queues": {"visibilityTimeout": "8.00:00:00"}}}, "visibilityTimeout"),
        ({"extensions": {"queues": {"maxPollingInterval": "00:00:00.05"}}}, "maxPollingInterval"),
        ({"extensions": {"queues": {"maxPollingInterval": 2}}}, "maxPollingInterval"),
        ({"extensions": {"queues": {"messageEncoding": "utf8"}}}, "messageEncoding"),
        ({"singleton": {"listenerLockPeriod": "00:00:05"}}, "listenerLockPeriod"),
    ],
)
def test_nonsense_in_host_json_is_refused(tmp_path: Path, content: dict[str, Any], says: str) -> None:
    """The message names the file, the key, what was found and what is expected."""
    with pytest.raises(HostError, match=says) as caught:
        load_host_config(host_json(tmp_path, **content), {})
    assert str(tmp_path / "host.json") in str(caught.value)


def test_folder_without_host_json_is_refused(tmp_path: Path) -> None:
    """Somebody started the host in the wrong folder."""
    with pytest.raises(HostError, match="--app"):
        load_host_config(tmp_path, {})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:00:05", 5.0), ("1:02:03", 3723.0), ("1.00:00:00", 86400.0), ("00:00:00.1234567", 0.1234567)],
)
def test_time_spans(text: str, seconds: float) -> None:
    """As .NET writes them."""
    assert parse_time_span(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "00:60:00", "00:00:60", "24:00:00", "-00:00:05", "00:05", "00:00:05s"]
)
def test_texts_that_are_no_time_spans(text: str) -> None:
    """24:00:00 would be 24 days to .NET: it is refused, not guessed."""
    with pytest.raises(ValueError, match="time span"):
        parse_time_span(text)


def test_settings_in_percent_signs_are_replaced() -> None:
    """One or several, and a percent sign alone is itself."""
    assert resolve("%A%-%B% 100%", {"A": "1", "B": "2"}) == "1-2 100%"
    with pytest.raises(LookupError, match="'NOPE' is not set"):
        resolve("%NOPE%", {})
