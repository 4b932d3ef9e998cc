"""How fast a backlog is worked off by 1, 2 and 4 hosts on one queue: `python -m bench.scale_hosts`.

Each host is a process as Azure would run one an instance: the whole app in Microsoft's Python runtime, taking
one window at a time from the queue that all share. The stand-in cloud holds them to the service's documented
limits, and each query keeps its place among the five that may run for as long as it takes.
"""

import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from unittest.mock import patch

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient

from bench.line import Line, at_least
from local.azurite import Azurite
from local.cloud import Cloud, Options
from local.demo_app import App, start_app
from local.progress import StepError

_EXPORT = """
[[export]]
name = "events"
source = "log_analytics"
workspace = "%LOG_ANALYTICS_WORKSPACE_ID%"
table = "Event"
window = "1h"
lag = "1m"
start = "{start}"
recheck = []
format = "jsonl.gz"
"""
_NEVER = "0 0 0 1 1 *"
_ROWS_AN_HOUR = 100
_STALLED_SECONDS = 60.0
_QUERY_SECONDS = 1.0
"""What a query of an hour of a busy table may take."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast some hosts worked: windows a second, and the processor seconds that a window took all of them.

    ``cpu_a_window`` is of the hosts alone, without the emulators; None where the system does not tell.
    """

    hosts: int
    query_seconds: float
    windows_a_second: float
    cpu_a_window: float | None


def run(*, tiny: bool = False) -> Iterator[Line]:
    """Compare more hosts with one, where the service is waited for, and where this machine is."""
    waiting = [measure(hosts, _QUERY_SECONDS, 3 if tiny else 15) for hosts in ((1, 2) if tiny else (1, 2, 4))]
    for pace in waiting[1:]:
        gain = pace.windows_a_second / waiting[0].windows_a_second
        # Two cores also run the emulators, so that of four hosts' gain a part is lost to this machine.
        target = {2: 1.6, 4: 2.2}[pace.hosts]
        what = f"windows/s of {pace.hosts} hosts beside one, {_QUERY_SECONDS:g} s a query"
        yield at_least(what, target, gain, _details([waiting[0], pace]))
    if not tiny:
        busy = [measure(hosts, 0.0, 25) for hosts in (1, 2, 4)]
        for pace in busy[1:]:
            gain = pace.windows_a_second / busy[0].windows_a_second
            # One host and the emulators already keep most of two cores busy: more must not get in their way.
            what = f"windows/s of {pace.hosts} hosts beside one, queries that take no time"
            yield at_least(what, 1.1, gain, _details([busy[0], pace]))


def _details(paces: Sequence[Pace]) -> str:
    return "; ".join(
        f"{pace.hosts}: {pace.windows_a_second:.2f}/s"
        + (f", {pace.cpu_a_window * 1000:.0f} ms of processor a window" if pace.cpu_a_window else "")
        for pace in paces
    )


@cache  # what measures again what was measured in the same run, as the check of the model does
def measure(hosts: int, query_seconds: float, windows_each: int) -> Pace:
    """Let so many hosts work off ``windows_each`` windows each; as many windows are in flight as hosts, or 2.

    The first two windows of each host only warm it up. Raises StepError where nothing moves any more.
    """
    windows = windows_each * hosts
    with _backlog(windows + 2 * hosts + 2, hosts, query_seconds) as (apps, container):
        apps[0].run_function("export_log_analytics")
        _wait_for(2 * hosts, container, apps)
        began, cpu = time.perf_counter(), _cpu_of(apps)
        landed = _wait_for(2 * hosts + windows, container, apps) - 2 * hosts
        seconds, used = time.perf_counter() - began, _cpu_of(apps)
    spent = None if cpu is None or used is None else (used - cpu) / landed
    return Pace(hosts, query_seconds, landed / seconds, spent)


@contextlib.contextmanager
def _backlog(windows: int, hosts: int, query_seconds: float) -> Generator[tuple[list[App], ContainerClient]]:
    """Run a cloud that holds so many hours, a storage account without any of them, and the hosts."""
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    start = end - timedelta(hours=windows)
    options = Options(events=windows * _ROWS_AN_HOUR, days=windows / 24, audits=0, end=end.isoformat())
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        azurite = running.enter_context(Azurite.start())
        cloud = running.enter_context(Cloud(options, folder=folder / "cloud"))
        if query_seconds:
            cloud.fail("log_analytics", "slow", count=None, seconds=query_seconds)
        file = folder / "exports.toml"
        file.write_text(_EXPORT.format(start=start.strftime("%Y-%m-%dT%H:%M:%SZ")), encoding="utf-8")
        settings = {
            **cloud.environment(),
            "AzureWebJobsStorage": azurite.connection_string,
            "EXPORTS_FILE": str(file),
            "EXPORT_LOG_ANALYTICS_SCHEDULE": _NEVER,
            "EXPORT_ENTRA_SCHEDULE": _NEVER,
            "EXPORT_LOG_ANALYTICS_MAX_IN_FLIGHT": str(max(2, hosts)),
        }
        apps = [_host(running, folder / f"host-{number}", settings) for number in range(hosts)]
        for app in apps:
            app.wait_until_ready()
        with ContainerClient.from_connection_string(azurite.connection_string, "exports") as container:
            yield apps, container


def _host(running: contextlib.ExitStack, folder: Path, settings: dict[str, str]) -> App:
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    app = start_app(folder, port, settings)
    running.enter_context(app.child)
    return app


def _wait_for(windows: int, container: ContainerClient, apps: Sequence[App]) -> int:
    """Wait until so many windows have blobs; return how many have by then."""
    landed, deadline = -1, 0.0
    while True:
        found = 0
        with contextlib.suppress(ResourceNotFoundError):  # before the first window there is no container
            found = sum(1 for _ in container.list_blob_names())
        if found >= windows:
            return found
        if found > landed:
            landed, deadline = found, time.monotonic() + _STALLED_SECONDS
        for app in apps:
            app.require_alive()
        if time.monotonic() > deadline:
            raise StepError(f"{landed} of {windows} windows landed, and no more. {apps[0].where_to_look()}")
        time.sleep(0.1)


def _cpu_of(apps: Sequence[App]) -> float | None:
    """Return the processor seconds that the hosts took so far; None where there is no /proc."""
    stats = [Path(f"/proc/{app.child.pid}/stat") for app in apps]
    if not all(each.is_file() for each in stats):
        return None
    ticks = 0
    for each in stats:
        fields = each.read_text("ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # user and system time of all its threads ("proc(5)")
    return ticks / os.sysconf("SC_CLK_TCK")


def loopback() -> contextlib.AbstractContextManager[object]:
    """Keep what speaks to this machine from proxies, here and in the processes that are started."""
    return patch.dict(os.environ, {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"})


def main() -> int:
    """Print what was found."""
    with loopback():
        for line in run(tiny="--tiny" in sys.argv):
            print(f"{line.what}: {line.measured} ({line.target}); {line.details}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
