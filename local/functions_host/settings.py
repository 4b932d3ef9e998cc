"""local.settings.json, host.json and `%SETTING%`: what the host is told, read once and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

DEFAULT_PORT = 7071

_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{1,7}))?")
_SETTING = re.compile(r"%([^%]+)%")


class HostError(Exception):
    """A mistake that whoever started the host can correct; the message says where it is and what to do."""


@dataclass(frozen=True)
class QueueOptions:
    """`extensions.queues` of host.json, with the defaults of its reference page; times in seconds."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_timeout: float = 0.0
    max_polling_interval: float = 60.0
    base64: bool = True


@dataclass(frozen=True)
class HostConfig:
    """What host.json decides.

    `function_timeout` is in seconds, or None for no limit. `listener_lock` is how long, in seconds, a timer
    stays locked to a host that was killed.
    """

    route_prefix: str = "api"
    function_timeout: float | None = 1800.0
    listener_lock: float = 15.0
    queues: QueueOptions = field(default_factory=QueueOptions)


def load_local_settings(path: Path, environ: MutableMapping[str, str]) -> int:
    """Add `Values` to `environ` where a name is not set yet; return the port it asks for, or 7071.

    A file that does not exist adds nothing. Raises `HostError` for one that the host cannot use.
    """
    if not path.is_file():
        return DEFAULT_PORT
    document = _read_object(path)
    if document.get("IsEncrypted") is True:
        raise HostError(f"{path} is encrypted: run `func settings decrypt` beside it, or write it anew.")
    values = document.get("Values", {})
    if not isinstance(values, dict):
        raise HostError(f"{path}: Values must be an object of names and texts.")
    wrong = [name for name, value in values.items() if not isinstance(value, str)]
    if wrong:
        raise HostError(
            f"{path}: app settings are texts; put quotes around the value of {', '.join(map(repr, wrong))}."
        )
    for name, value in values.items():
        environ.setdefault(name, value)
    host = document.get("Host")
    port = host.get("LocalHttpPort", DEFAULT_PORT) if isinstance(host, dict) else DEFAULT_PORT
    if type(port) is not int or not 0 <= port < 65536:
        raise HostError(f"{path}: Host.LocalHttpPort must be a number below 65536, not {port!r}.")
    return port


def load_host_config(app_dir: Path, environ: Mapping[str, str]) -> HostConfig:
    """Read host.json; `AzureFunctionsJobHost__a__b` in `environ` overrides `a.b`, as on Azure.

    Keys the local host has no use for (logging, extensionBundle, …) are left alone. Raises `HostError`.
    """
    path = app_dir / "host.json"
    if not path.is_file():
        raise HostError(f"{path} does not exist: start the host in the app's folder, or name it with --app.")
    reader = _Reader(path, _read_object(path), environ)
    if (version := reader.get("version")) != "2.0":
        raise HostError(f'{path}: version must be "2.0", not {version!r}.')
    batch_size = reader.integer("extensions.queues.batchSize", 16, 1, 32)
    return HostConfig(
        route_prefix=reader.text("extensions.http.routePrefix", "api").strip("/"),
        function_timeout=reader.timeout("functionTimeout", 1800.0),
        listener_lock=reader.time_span("singleton.listenerLockPeriod", 15.0, 15.0, 60.0),
        queues=QueueOptions(
            batch_size=batch_size,
            new_batch_threshold=reader.integer(
                "extensions.queues.newBatchThreshold", batch_size // 2, 0, 1000
            ),
            max_dequeue_count=reader.integer("extensions.queues.maxDequeueCount", 5, 1, 2**31 - 1),
            # Storage keeps a message invisible for seven days at most.
            visibility_timeout=reader.time_span("extensions.queues.visibilityTimeout", 0.0, 0.0, 7 * 86400.0),
            max_polling_interval=reader.time_span("extensions.queues.maxPollingInterval", 60.0, 0.1, 86400.0),
            base64=reader.choice("extensions.queues.messageEncoding", "base64", "none") == "base64",
        ),
    )


def resolve(text: str, environ: Mapping[str, str]) -> str:
    """Replace each `%SETTING%` by its app setting; raises `LookupError` that names one that is not set."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in environ:
            raise LookupError(
                f"the app setting {match[1]!r} is not set: add it to Values in local.settings.json "
                "or to the environment"
            )
        return environ[match[1]]

    return _SETTING.sub(value, text)


def parse_time_span(text: str) -> float:
    """Seconds of `[d.]hh:mm:ss[.fffffff]`; raises `ValueError` for any other text."""
    match = _TIME_SPAN.fullmatch(text)
    if match is None or int(match[2]) > 23 or int(match[3]) > 59 or int(match[4]) > 59:
        raise ValueError(f"{text!r} is not a time span such as 00:05:00 or 1.00:00:00")
    days, hours, minutes, seconds = (int(part or 0) for part in match.group(1, 2, 3, 4))
    whole = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
    return whole + float(f"0.{match[5] or 0}")


@dataclass(frozen=True)
class _Reader:
    path: Path
    document: dict[str, Any]
    environ: Mapping[str, str]

    def get(self, key: str) -> Any:
        override = self.environ.get("AzureFunctionsJobHost__" + key.replace(".", "__"))
        if override is not None:
            return override
        value: Any = self.document
        for part in key.split("."):
            if not isinstance(value, dict):
                raise self._wrong(key, value, "an object on the way to it")
            value = value.get(part)
            if value is None:
                return None
        return value

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        value = self.get(key)
        if isinstance(value, str) and value.isdecimal():  # an override is always a text
            value = int(value)
        if value is None:
            return default
        if type(value) is not int or not low <= value <= high:
            raise self._wrong(key, value, f"a whole number from {low} to {high}")
        return value

    def text(self, key: str, default: str) -> str:
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, value, "a text")
        return default if value is None else value

    def choice(self, key: str, *allowed: str) -> str:
        value = self.text(key, allowed[0]).lower()
        if value not in allowed:
            raise self._wrong(key, value, " or ".join(map(repr, allowed)))
        return value

    def time_span(self, key: str, default: float, low: float, high: float) -> float:
        value = self.get(key)
        if value is None:
            return default
        seconds = self._parsed(key, value, parse_time_span)
        if not low <= seconds <= high:
            raise self._wrong(key, value, f"from {timedelta(seconds=low)} to {timedelta(seconds=high)}")
        return seconds

    def timeout(self, key: str, default: float) -> float | None:
        value = self.get(key)
        if value in {"-1", "-00:00:01", -1}:
            return None
        seconds = default if value is None else self._parsed(key, value, parse_time_span)
        if seconds <= 0:
            raise self._wrong(key, value, 'longer than nothing, or "-1" for no limit')
        return seconds

    def _parsed(self, key: str, value: object, parse: Callable[[str], float]) -> float:
        try:
            return parse(str(value))
        except ValueError as error:
            raise self._wrong(key, value, "a time span such as 00:05:00") from error

    def _wrong(self, key: str, value: object, expected: str) -> HostError:
        return HostError(f"{self.path}: {key} is {value!r}; it must be {expected}.")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise HostError(f"{path} is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise HostError(f"{path} must hold one JSON object.")
    return document
