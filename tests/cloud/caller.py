"""A plain client of the stand-in cloud, for its tests."""

from typing import Any

import requests

from local.cloud import Cloud, Limits

END = "2026-11-21T12:00:00Z"
NO_RATES = Limits(
    queries=None, reports=None, identity_protection=None, retention_days=None, risk_retention_days=None
)


class Caller:
    """A client without any cleverness: one request, one answer."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.session = requests.Session()
        self.session.trust_env = False  # or REQUESTS_CA_BUNDLE goes before `verify`
        self.session.verify = str(cloud.ca_file)
        self._tokens: dict[str, str] = {}

    def token(self, resource: str) -> str:
        """A new token for `resource`."""
        answer = self.session.post(
            f"{self.cloud.url}/{self.cloud.tenant_id}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": self.cloud.client_id,
                "client_secret": self.cloud.client_secret,
                "scope": f"{resource}/.default",
            },
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def call(self, method: str, path: str, resource: str, **words: Any) -> requests.Response:
        """Send a request with a token for `resource`; `path` may be a whole URL."""
        if resource not in self._tokens:
            self._tokens[resource] = self.token(resource)
        headers = {"Authorization": f"Bearer {self._tokens[resource]}", **words.pop("headers", {})}
        url = path if path.startswith("https:") else self.cloud.url + path
        return self.session.request(method, url, headers=headers, timeout=30, allow_redirects=False, **words)

    def query(self, text: str, timespan: str | None = None, **headers: str) -> requests.Response:
        """Ask the query API; header names are given with underscores."""
        named = {"Cache-Control": "no-cache"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        path = f"/v1/workspaces/{self.cloud.workspace_id}/query"
        body = {"query": text, "timespan": timespan}
        return self.call("POST", path, "https://api.loganalytics.io", json=body, headers=named)

    def rows(self, text: str, timespan: str | None = None) -> list[list[Any]]:
        """The rows of a query that succeeds."""
        answer = self.query(text, timespan)
        assert answer.status_code == 200, answer.text
        rows: list[list[Any]] = answer.json()["tables"][0]["rows"]
        return rows

    def audits(self, path: str = "/v1.0/auditLogs/directoryAudits", **options: str) -> requests.Response:
        """Ask Graph for directory audits; option names are given without their dollar."""
        return self.graph(path, **options)

    def graph(self, path: str, **options: str) -> requests.Response:
        """Ask Graph; option names are given without their dollar."""
        named = {f"${name}": value for name, value in options.items()}
        return self.call("GET", path, "https://graph.microsoft.com", params=named)

    def walk(self, path: str, **options: str) -> list[list[dict[str, Any]]]:
        """Every page of a walk through one of Graph's logs that succeeds."""
        answer = self.graph(path, **options)
        pages = []
        while True:
            assert answer.status_code == 200, answer.text
            document = answer.json()
            pages.append(document["value"])
            if "@odata.nextLink" not in document:
                return pages
            answer = self.call("GET", document["@odata.nextLink"], "https://graph.microsoft.com")

    def found(self, path: str, **options: str) -> list[dict[str, Any]]:
        """Every record of such a walk."""
        return [record for page in self.walk(path, **options) for record in page]
