"""How close a walk through Microsoft Graph comes to the documented rate limit, and if it trips over it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.line import Line, at_least
from bench.rig import with_variables
from local.azurite import Azurite
from local.cloud import Cloud, Options
from shared.startup import read_settings
from shared.wiring import App

_TARGET = 0.95
_ALLOWED = 0.5
"""Requests a second: 5 in 10 s ("Microsoft Graph service-specific throttling limits")."""
_EXPORT = """
[[export]]
name = "audits"
source = "entra"
log = "directoryAudits"
window = "1h"
start = "-2d"
"""


def run(*, tiny: bool = False) -> Iterator[Line]:
    """Export hours of audit logs from the stand-in, which refuses what is beyond the limit."""
    wanted = 2 if tiny else 20
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "exports.toml").write_text(_EXPORT, encoding="utf-8")
        with Azurite.start() as azurite, Cloud(Options(events=1, audits=500), folder / "cloud") as cloud:
            environ = {**cloud.environment(), "AzureWebJobsStorage": azurite.connection_string}
            with with_variables(REQUESTS_CA_BUNDLE=environ["REQUESTS_CA_BUNDLE"]):
                _work(App(read_settings(environ, folder)), cloud, wanted)
            asked = [each for each in cloud.requests if each.api == "graph"]
    refused = sum(each.status == 429 for each in asked)
    rate = (len(asked) - 1) / (asked[-1].time - asked[0].time)
    figures = f"{len(asked)} requests, one every {1 / rate:.2f} s"
    yield at_least("requests to Graph beside what its limit allows", _TARGET, rate / _ALLOWED, figures)
    yield Line("of them refused with 429", "0", str(refused), refused == 0)


def _work(app: App, cloud: Cloud, wanted: int) -> None:
    """Export windows, as the queue would have it, until so many requests were sent."""
    orders = app.planner.plan("entra")
    while len([each for each in cloud.requests if each.api == "graph"]) < wanted:
        order = orders.pop(0)
        app.exporter.run(order)
        orders += app.planner.top_up(order)
