"""The stand-in's own door: what `Cloud`'s methods do, for another process over HTTPS and JSON."""

import http.client
import ssl
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from local.cloud.options import Limits
from local.cloud.query_service import Scan
from local.cloud.server import Answer, Request, Seen, json_answer

if TYPE_CHECKING:
    from local.cloud.cloud import Cloud

PREFIX = "/_control/"

_METHODS = frozenset(
    {
        *("tables", "add_rows", "remove_rows", "rows", "search_tables"),
        *("add_records", "remove_records", "replace_record", "records"),
        *("add_audits", "remove_audits", "replace_audit", "audits"),
        *("add_search_records", "search_records", "add_activities", "activities"),
        *("fail", "clear_faults", "set_limits", "expire_tokens", "clear_requests"),
        *("environment", "managed_identity_environment"),
        *("certificate_environment", "workload_identity_environment"),
    }
)
_VALUES = frozenset({"requests", "limits", "scans"})


def answer(cloud: "Cloud", request: Request) -> Answer:
    """Call the method, or read the value, that the path names; the body is a JSON object of arguments."""
    name = request.path.removeprefix(PREFIX)
    if name in _VALUES:
        value = getattr(cloud, name)
        return json_answer(
            200, [asdict(each) for each in value] if isinstance(value, list) else asdict(value)
        )
    if name == "identity":
        return json_answer(200, {each: getattr(cloud, each) for each in _IDS})
    if name not in _METHODS:
        return json_answer(404, {"error": f"no control named {name!r}"})
    arguments = msgspec.json.decode(request.body) if request.body else {}
    try:
        return json_answer(200, getattr(cloud, name)(**arguments))
    except (TypeError, ValueError) as error:
        return json_answer(400, {"error": str(error)})


_IDS = (
    *("tenant_id", "client_id", "client_secret", "workspace_id", "foreign_workspace_id"),
    *("workspace_ids", "workspace_resource_ids", "foreign_resource_id"),
)


class ControlClient:
    """The methods of `Cloud` for a stand-in in another process; see there for what they do.

    Raises ValueError where `Cloud` would, and OSError where the stand-in cannot be reached.
    """

    def __init__(self, url: str, ca_file: Path | str) -> None:
        self.url = url
        self.ca_file = Path(ca_file)
        self._tls = ssl.create_default_context(cafile=str(ca_file))
        ids = self._call("identity")
        self.tenant_id: str = ids["tenant_id"]
        self.client_id: str = ids["client_id"]
        self.client_secret: str = ids["client_secret"]
        self.workspace_id: str = ids["workspace_id"]
        self.foreign_workspace_id: str = ids["foreign_workspace_id"]
        self.workspace_ids: list[str] = ids["workspace_ids"]
        self.workspace_resource_ids: list[str] = ids["workspace_resource_ids"]
        self.foreign_resource_id: str = ids["foreign_resource_id"]

    def _call(self, name: str, **arguments: Any) -> Any:
        host = urlsplit(self.url).netloc
        connection = http.client.HTTPSConnection(host, context=self._tls, timeout=300)
        try:
            connection.request(
                "POST", PREFIX + name, msgspec.json.encode(arguments), {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            document = msgspec.json.decode(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(f"the stand-in refused {name}: {document['error']}")
        return document

    def environment(self) -> dict[str, str]:
        """See `Cloud.environment`."""
        return self._settings("environment")

    def managed_identity_environment(self) -> dict[str, str]:
        """See `Cloud.managed_identity_environment`."""
        return self._settings("managed_identity_environment")

    def certificate_environment(self) -> dict[str, str]:
        """See `Cloud.certificate_environment`."""
        return self._settings("certificate_environment")

    def workload_identity_environment(self) -> dict[str, str]:
        """See `Cloud.workload_identity_environment`."""
        return self._settings("workload_identity_environment")

    def _settings(self, name: str) -> dict[str, str]:
        settings: dict[str, str] = self._call(name)
        return settings

    def tables(self) -> list[str]:
        """See `Cloud.tables`."""
        tables: list[str] = self._call("tables")
        return tables

    def add_rows(
        self,
        table: str,
        rows: Sequence[Mapping[str, Any]],
        ingested: str | None = "now",
        visible_at: str | None = None,
        workspace: str | None = None,
    ) -> int:
        """See `Cloud.add_rows`."""
        words = {"ingested": ingested, "visible_at": visible_at, "workspace": workspace}
        return int(self._call("add_rows", table=table, rows=rows, **words))

    def remove_rows(self, table: str, which: int | str, workspace: str | None = None) -> int:
        """See `Cloud.remove_rows`."""
        return int(self._call("remove_rows", table=table, which=which, workspace=workspace))

    def rows(self, table: str, workspace: str | None = None) -> list[dict[str, Any]]:
        """See `Cloud.rows`."""
        rows: list[dict[str, Any]] = self._call("rows", table=table, workspace=workspace)
        return rows

    def search_tables(self) -> list[dict[str, Any]]:
        """See `Cloud.search_tables`."""
        tables: list[dict[str, Any]] = self._call("search_tables")
        return tables

    @property
    def scans(self) -> list[Scan]:
        """See `Cloud.scans`."""
        return [Scan(**each) for each in self._call("scans")]

    def add_records(self, log: str, records: Sequence[Mapping[str, Any]]) -> int:
        """See `Cloud.add_records`."""
        return int(self._call("add_records", log=log, records=records))

    def remove_records(self, log: str, ids: Collection[str]) -> int:
        """See `Cloud.remove_records`."""
        return int(self._call("remove_records", log=log, ids=list(ids)))

    def replace_record(self, log: str, id: str, record: Mapping[str, Any]) -> None:  # noqa: A002 (Graph's own name for it)
        """See `Cloud.replace_record`."""
        self._call("replace_record", log=log, id=id, record=record)

    def records(self, log: str) -> list[dict[str, Any]]:
        """See `Cloud.records`."""
        records: list[dict[str, Any]] = self._call("records", log=log)
        return records

    def add_audits(self, records: Sequence[Mapping[str, Any]]) -> int:
        """See `Cloud.add_audits`."""
        return self.add_records("directoryAudits", records)

    def remove_audits(self, ids: Collection[str]) -> int:
        """See `Cloud.remove_audits`."""
        return self.remove_records("directoryAudits", ids)

    def replace_audit(self, id: str, record: Mapping[str, Any]) -> None:  # noqa: A002 (Graph's own name for it)
        """See `Cloud.replace_audit`."""
        self.replace_record("directoryAudits", id, record)

    def audits(self) -> list[dict[str, Any]]:
        """See `Cloud.audits`."""
        return self.records("directoryAudits")

    def add_search_records(self, records: Sequence[Mapping[str, Any]]) -> int:
        """See `Cloud.add_search_records`."""
        return int(self._call("add_search_records", records=records))

    def search_records(self) -> list[dict[str, Any]]:
        """See `Cloud.search_records`."""
        records: list[dict[str, Any]] = self._call("search_records")
        return records

    def add_activities(self, report: str, records: Sequence[Mapping[str, Any]]) -> int:
        """See `Cloud.add_activities`."""
        return int(self._call("add_activities", report=report, records=records))

    def activities(self, report: str) -> list[dict[str, Any]]:
        """See `Cloud.activities`."""
        activities: list[dict[str, Any]] = self._call("activities", report=report)
        return activities

    def fail(self, api: str, kind: str, **words: Any) -> None:
        """See `Cloud.fail`."""
        self._call("fail", api=api, kind=kind, **words)

    def clear_faults(self) -> None:
        """See `Cloud.clear_faults`."""
        self._call("clear_faults")

    def set_limits(self, **changes: Any) -> None:
        """See `Cloud.set_limits`."""
        self._call("set_limits", **changes)

    @property
    def limits(self) -> Limits:
        """See `Cloud.limits`."""
        return Limits(**self._call("limits"))

    def expire_tokens(self) -> None:
        """See `Cloud.expire_tokens`."""
        self._call("expire_tokens")

    @property
    def requests(self) -> list[Seen]:
        """See `Cloud.requests`."""
        return [Seen(**each) for each in self._call("requests")]

    def clear_requests(self) -> None:
        """See `Cloud.clear_requests`."""
        self._call("clear_requests")
