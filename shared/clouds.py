"""The hosts and token audiences of each Azure cloud.

Sources: "Azure Monitor Log Analytics API: access the API", "National cloud deployments" (Microsoft Graph)
and the audiences in Microsoft's own query client (``LogsQueryAudience``); "Azure AD Graph API: operations
overview" for the retired one.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Api:
    """One API: where requests go, and the scope that a token for it is asked with."""

    name: str
    origin: str
    scope: str


@dataclass(frozen=True, slots=True)
class Cloud:
    """The endpoints of one Azure cloud. ``authority`` is Entra ID's origin, where tokens come from."""

    name: str
    authority: str
    log_analytics: Api
    graph: Api
    arm: Api
    aad_graph: Api
    storage_suffix: str


def _cloud(
    name: str,
    authority: str,
    log_analytics: str,
    audience: str,
    graph: str,
    arm: str,
    aad_graph: str,
    storage: str,
) -> Cloud:
    return Cloud(
        name,
        f"https://{authority}",
        Api("Log Analytics", f"https://{log_analytics}", f"https://{audience}/.default"),
        Api("Microsoft Graph", f"https://{graph}", f"https://{graph}/.default"),
        Api("Azure Resource Manager", f"https://{arm}", f"https://{arm}/.default"),
        Api("Azure AD Graph", f"https://{aad_graph}", f"https://{aad_graph}/.default"),
        storage,
    )


CLOUDS = {
    cloud.name: cloud
    for cloud in (
        _cloud(
            "public",
            "login.microsoftonline.com",
            "api.loganalytics.azure.com",
            "api.loganalytics.io",
            "graph.microsoft.com",
            "management.azure.com",
            "graph.windows.net",
            "core.windows.net",
        ),
        _cloud(
            "usgov",
            "login.microsoftonline.us",
            "api.loganalytics.us",
            "api.loganalytics.us",
            "graph.microsoft.us",
            "management.usgovcloudapi.net",
            "graph.microsoftazure.us",
            "core.usgovcloudapi.net",
        ),
        _cloud(
            "usgov-dod",
            "login.microsoftonline.us",
            "api.loganalytics.us",
            "api.loganalytics.us",
            "dod-graph.microsoft.us",
            "management.usgovcloudapi.net",
            "graph.microsoftazure.us",
            "core.usgovcloudapi.net",
        ),
        _cloud(
            "china",
            "login.chinacloudapi.cn",
            "api.loganalytics.azure.cn",
            "api.loganalytics.azure.cn",
            "microsoftgraph.chinacloudapi.cn",
            "management.chinacloudapi.cn",
            "graph.chinacloudapi.cn",
            "core.chinacloudapi.cn",
        ),
    )
}
AUTHORITIES = frozenset(cloud.authority for cloud in CLOUDS.values())
"""Microsoft's own authorities; for any other, azure-identity must not ask Microsoft to vouch for it."""
