"""The clouds' hosts and audiences, as Microsoft documents them."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from shared.clouds import AUTHORITIES, CLOUDS


@pytest.mark.parametrize(
    ("cloud", "authority", "log_analytics", "scope", "graph", "arm"),
    [
        ("public", "login.microsoftonline.com", "api.loganalytics.azure.com", "api.loganalytics.io",
         "graph.microsoft.com", "management.azure.com"),
        ("usgov", "login.microsoftonline.us", "api.loganalytics.us", "api.loganalytics.us",
         "graph.microsoft.us", "management.usgovcloudapi.net"),
        ("usgov-dod", "login.microsoftonline.us", "api.loganalytics.us", "api.loganalytics.us",
         "dod-graph.microsoft.us", "management.usgovcloudapi.net"),
        ("china", "login.chinacloudapi.cn", "api.loganalytics.azure.cn", "api.loganalytics.azure.cn",
         "microsoftgraph.chinacloudapi.cn", "management.chinacloudapi.cn"),
    ],
)  # fmt: skip
def test_endpoints(cloud: str, authority: str, log_analytics: str, scope: str, graph: str, arm: str) -> None:
    """Each cloud's requests and tokens go to that cloud; public tokens are asked for the old host's name."""
    found = CLOUDS[cloud]
    assert found.authority == f"https://{authority}"
    assert (found.log_analytics.origin, found.log_analytics.scope) == (
        f"https://{log_analytics}",
        f"https://{scope}/.default",
    )
    assert (found.graph.origin, found.graph.scope) == (f"https://{graph}", f"https://{graph}/.default")
    assert (found.arm.origin, found.arm.scope) == (f"https://{arm}", f"https://{arm}/.default")


@pytest.mark.parametrize("cloud", CLOUDS.values(), ids=lambda cloud: cloud.name)
def test_every_cloud_is_whole(cloud: object) -> None:
    """Every origin is https without a path, and the authority is one that azure-identity may trust."""
    found = CLOUDS[getattr(cloud, "name", "")]
    assert found.authority in AUTHORITIES
    for origin in (found.authority, found.log_analytics.origin, found.graph.origin, found.arm.origin):
        url = urlsplit(origin)
        assert (url.scheme, url.path, url.query) == ("https", "", "")
