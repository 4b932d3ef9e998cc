"""The whole stand-in: one TLS port for every service, and what a test can do to it while it runs."""

import ssl
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from local.cloud import arm, control
from local.cloud.aad_graph import AadGraph
from local.cloud.activities import TIMES, made_up_activities
from local.cloud.arm_query import ArmQuery
from local.cloud.arm_tables import ArmTables
from local.cloud.audit_records import made_up_records
from local.cloud.audit_search import AuditSearch
from local.cloud.audits import made_up_audits
from local.cloud.dataset import made_up_rows
from local.cloud.entra_id import EntraId
from local.cloud.faults import Fault, Faults
from local.cloud.front import Front, Service
from local.cloud.graph import Graph
from local.cloud.identity import Identity, certificates
from local.cloud.legacy_search import LegacySearch
from local.cloud.log_analytics import LogAnalytics
from local.cloud.managed_identity import PATH as MANAGED_IDENTITY_PATH
from local.cloud.managed_identity import ManagedIdentity
from local.cloud.options import Limits, Options
from local.cloud.provisioning import made_up_provisionings
from local.cloud.query_service import QueryService, Scan
from local.cloud.risk_detections import made_up_risk_detections
from local.cloud.server import Answer, Request, Seen, Server
from local.cloud.sign_ins import made_up_sign_ins
from local.cloud.ticks import from_unix, parse_instant
from local.cloud.tokens import Tokens
from local.cloud.workspaces import Workspaces

NOW = "now"
"""For `ingested`: the moment of the call."""


class Cloud:
    """A stand-in for Entra ID, Log Analytics and Microsoft Graph; it serves inside its `with` block.

    `folder` gets `ca.pem` and the files that prove the app's identity; it is made if need be. `clock` gives
    Unix seconds and decides tokens, `now()`, ages and the retention floor.
    """

    def __init__(
        self, options: Options | None = None, folder: Path | str = ".", clock: Callable[[], float] = time.time
    ) -> None:
        self.options = options or Options()
        self.limits: Limits = self.options.limits
        self._clock = clock
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self.ca_file = self._folder.resolve() / "ca.pem"
        certificates().authority.cert_pem.write_to_path(self.ca_file)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificates().of_server.configure_cert(self._tls)
        self.identity = Identity.make(self.options.seed, self._folder.resolve())
        self.tenant_id = self.identity.tenant_id
        self.client_id = self.identity.client_id
        self.client_secret = self.identity.client_secret
        self.workspace_id = self.identity.workspace_id
        self.foreign_workspace_id = self.identity.foreign_workspace_id
        self._tokens = Tokens(self.tenant_id, self.options.token_seconds, clock)
        self._workspaces = Workspaces(self.identity, self.options)
        self.workspace_ids = [each.id for each in self._workspaces.all]
        self.workspace_resource_ids = [each.resource_id for each in self._workspaces.all]
        self.foreign_resource_id = self._workspaces.foreign_resource_id
        self._queries = QueryService(self._workspaces, clock)
        self._graph = Graph(self._tokens, clock)
        self._audit_search = AuditSearch(self._tokens, clock)
        self._aad_graph = AadGraph(self.identity, self._tokens, clock)
        log_analytics = LogAnalytics(self.identity, self._tokens, self._workspaces, self._queries, clock)
        headers = arm.Headers()
        arm_query = ArmQuery(self.identity, self._tokens, self._workspaces, self._queries, headers, clock)
        self._arm_tables = ArmTables(self.identity, self._tokens, self._workspaces, headers, clock)
        legacy_search = LegacySearch(self.identity, self._tokens, self._workspaces, headers, clock)
        entra_id = EntraId(self.identity, self._tokens, clock)
        managed_identity = ManagedIdentity(self.identity, self._tokens, clock)
        self._services = [
            Service(
                "log_analytics",
                log_analytics.serves,
                lambda request, fault: log_analytics.answer(request, fault, self.limits),
                keeps_time=True,
            ),
            Service(
                "resource_manager",
                arm_query.serves,
                lambda request, fault: arm_query.answer(request, fault, self.limits),
                keeps_time=True,
            ),
            Service(
                "resource_manager",
                self._arm_tables.serves,
                lambda request, fault: self._arm_tables.answer(request, fault, self.limits),
            ),
            Service(
                "graph",
                self._audit_search.serves,
                lambda request, fault: self._audit_search.answer(request, fault, self.limits),
            ),
            Service(
                "aad_graph",
                self._aad_graph.serves,
                lambda request, fault: self._aad_graph.answer(request, fault, self.limits),
            ),
            Service(
                "resource_manager",
                legacy_search.serves,
                lambda request, fault: legacy_search.answer(request, fault, self.limits),
            ),
            Service(
                "graph",
                self._graph.serves,
                lambda request, fault: self._graph.answer(request, fault, self.limits),
                keeps_time=True,
            ),
            Service("entra_id", entra_id.serves, entra_id.answer),
        ]
        self._managed_identity = Service("managed_identity", lambda _: True, managed_identity.answer)
        self._faults = Faults()
        self._front = Front(self._faults, clock, self.options.latency)
        self._fill()

    def _fill(self) -> None:
        end = parse_instant(self.options.end) if self.options.end else from_unix(self._clock())
        for number, workspace in enumerate(self._workspaces.all):
            options = replace(self.options, seed=self.options.seed + 1_000_003 * number)
            for table, rows in made_up_rows(options, self.identity, end):
                workspace.store.add(table, rows, None, end)
        self._graph.add("directoryAudits", made_up_audits(self.options, self.identity, end))
        self._graph.add("signIns", made_up_sign_ins(self.options, self.identity, end))
        self._graph.add("provisioning", made_up_provisionings(self.options, self.identity, end))
        self._graph.add("riskDetections", made_up_risk_detections(self.options, end))
        self._audit_search.add(made_up_records(self.options, self.identity, end))
        for report in TIMES:
            self._aad_graph.add(report, made_up_activities(report, self.options, self.identity, end))

    def __enter__(self) -> Self:
        self._server = Server(self._serve, self.options.port, self._tls, self.options.date_offset)
        self._identity_server = Server(self._serve_managed_identity, 0, None, self.options.date_offset)
        self.url = self._server.url
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        self._identity_server.close()
        self._workspaces.close()

    # What the app needs to know.

    def environment(self) -> dict[str, str]:
        """The app settings that point the app at this stand-in, with a client secret."""
        return {
            "LOG_ANALYTICS_ENDPOINT": self.url,
            "GRAPH_ENDPOINT": self.url,
            "ARM_ENDPOINT": self.url,
            "AAD_GRAPH_ENDPOINT": self.url,
            "AZURE_AUTHORITY_HOST": self.url,
            "LOG_ANALYTICS_WORKSPACE_ID": self.workspace_id,
            "AZURE_TENANT_ID": self.tenant_id,
            "AZURE_CLIENT_ID": self.client_id,
            "AZURE_CLIENT_SECRET": self.client_secret,
            "EXPORT_CREDENTIAL": "client_secret",
            "REQUESTS_CA_BUNDLE": str(self.ca_file),
        }

    def managed_identity_environment(self) -> dict[str, str]:
        """The same for an app with a managed identity, as Functions sets it up ("2019-08-01")."""
        return self._without_secret("managed_identity") | {
            "IDENTITY_ENDPOINT": self._identity_server.url + MANAGED_IDENTITY_PATH,
            "IDENTITY_HEADER": self.identity.identity_header,
        }

    def certificate_environment(self) -> dict[str, str]:
        """The same for an app that proves itself with a certificate."""
        path = str(self.identity.certificate_file)
        return self._without_secret("certificate") | {"AZURE_CLIENT_CERTIFICATE_PATH": path}

    def workload_identity_environment(self) -> dict[str, str]:
        """The same for an app with workload identity federation."""
        path = str(self.identity.federated_token_file)
        return self._without_secret("workload_identity") | {"AZURE_FEDERATED_TOKEN_FILE": path}

    def _without_secret(self, credential: str) -> dict[str, str]:
        settings = self.environment() | {"EXPORT_CREDENTIAL": credential}
        del settings["AZURE_CLIENT_SECRET"]
        return settings

    # What the services hold.

    def tables(self) -> list[str]:
        """The names of the tables of every workspace; those of search jobs are in `search_tables`."""
        jobs = {each["name"] for each in self.search_tables()}
        return [name for name in self._workspaces.all[0].store.columns if name not in jobs]

    def search_tables(self) -> list[dict[str, Any]]:
        """The search jobs whose tables there are, in all workspaces.

        Each has ``workspace`` (id), ``name``, ``query``, ``state``, ``found`` (rows that the job has) and
        ``ingested`` (rows in its table).
        """
        return self._arm_tables.search_tables(self.limits)

    def add_rows(
        self,
        table: str,
        rows: Sequence[Mapping[str, Any]],
        ingested: str | None = NOW,
        visible_at: str | None = None,
        workspace: str | None = None,
    ) -> int:
        """Append rows and return how many. Queries see them from `visible_at` (an ISO instant), or at once.

        `workspace` is one of `workspace_ids`, or None for the first.

        `ingested` is the ingestion time of all of them: an ISO instant, "now", or None for a null; a row's
        own item `INGESTION_TIME` goes before it. See `local.cloud.store.Store.add` for values, defaults and
        errors.
        """
        now = from_unix(self._clock())
        ticks = None if ingested is None else now if ingested == NOW else parse_instant(ingested)
        visible = None if visible_at is None else parse_instant(visible_at)
        return self._workspaces.get(workspace).store.add(table, rows, ticks, now, visible)

    def remove_rows(self, table: str, which: int | str, workspace: str | None = None) -> int:
        """Purge rows at the source and return how many.

        `which` is a number, for so many of those that arrived first, or a KQL condition as after `where`:
        ``"Computer == 'a' and ingestion_time() < ago(1h)"``. Rows that queries do not see yet stay. An answer
        that is cached still has the rows. Raises ValueError for an unknown table or a wrong condition.
        """
        return self._workspaces.get(workspace).store.remove(table, which, from_unix(self._clock()))

    def rows(self, table: str, workspace: str | None = None) -> list[dict[str, Any]]:
        """Every row in the order of arrival: column -> value as the wire has it, and `INGESTION_TIME`.

        Last come those that queries do not see yet.
        """
        return self._workspaces.get(workspace).store.rows(table)

    def add_records(self, log: str, records: Sequence[Mapping[str, Any]]) -> int:
        """Add records to one of Graph's logs, visible at once, and return how many.

        `log` is "directoryAudits", "signIns", "provisioning" or "riskDetections". What a record lacks is
        filled in. Raises ValueError for another log, or for a time that is none.
        """
        return self._graph.add(log, records)

    def remove_records(self, log: str, ids: Collection[str]) -> int:
        """Take the records with these ids away and return how many; a walk under way still has them."""
        return self._graph.remove(log, ids)

    def replace_record(self, log: str, id: str, record: Mapping[str, Any]) -> None:  # noqa: A002 (Graph's own name for it)
        """Give the record with this id other members; those that `record` lacks stay as they are.

        Raises ValueError where there is no such record.
        """
        self._graph.replace(log, id, record)

    def records(self, log: str) -> list[dict[str, Any]]:
        """Every record of a log, newest first, as the wire has it (also those below the retention floor).

        Sign-ins are as beta sends them; v1.0 leaves members out.
        """
        return self._graph.records(log)

    def add_audits(self, records: Sequence[Mapping[str, Any]]) -> int:
        """`add_records` for directory audits."""
        return self.add_records("directoryAudits", records)

    def remove_audits(self, ids: Collection[str]) -> int:
        """`remove_records` for directory audits."""
        return self.remove_records("directoryAudits", ids)

    def replace_audit(self, id: str, record: Mapping[str, Any]) -> None:  # noqa: A002 (Graph's own name for it)
        """`replace_record` for directory audits."""
        self.replace_record("directoryAudits", id, record)

    def audits(self) -> list[dict[str, Any]]:
        """`records` of directory audits."""
        return self.records("directoryAudits")

    def add_search_records(self, records: Sequence[Mapping[str, Any]]) -> int:
        """Add records to the unified audit log and return how many; a search that is over does not see them.

        What a record lacks is filled in. Raises ValueError for a `createdDateTime` that is none.
        """
        return self._audit_search.add(records)

    def search_records(self) -> list[dict[str, Any]]:
        """Every record of the unified audit log, newest first, as the wire has it."""
        return self._audit_search.records()

    def add_activities(self, report: str, records: Sequence[Mapping[str, Any]]) -> int:
        """Add records to a report of Azure AD Graph, visible at once, and return how many.

        `report` is "audit" or "signinEvents". What a record lacks is filled in. Raises ValueError for another
        report, or for a time that is none.
        """
        return self._aad_graph.add(report, records)

    def activities(self, report: str) -> list[dict[str, Any]]:
        """Every record of a report of Azure AD Graph, newest first, as the wire has it."""
        return self._aad_graph.records(report)

    # What a test can do to the services.

    def fail(
        self,
        api: str,
        kind: str,
        *,
        path: str = "",
        nth: int = 1,
        count: int | None = 1,
        retry_after: int | str | None = None,
        seconds: float = 0.0,
        location: str = "",
    ) -> None:
        """Make calls go wrong; see `local.cloud.faults.Faults.add` for the words."""
        self._faults.add(Fault(api, kind, path, nth, count, retry_after, seconds, location))

    def clear_faults(self) -> None:
        """Withdraw every fault."""
        self._faults.clear()

    def set_limits(self, **changes: Any) -> None:
        """Change limits from here on; the names are those of `Limits`."""
        self.limits = replace(self.limits, **changes)

    def expire_tokens(self) -> None:
        """Make every token issued so far an expired one."""
        self._tokens.expire_all()

    @property
    def requests(self) -> list[Seen]:
        """The requests served so far, in the order of their answers."""
        return self._front.seen()

    def clear_requests(self) -> None:
        """Forget the requests served so far."""
        self._front.forget()

    @property
    def scans(self) -> list[Scan]:
        """The scans of Basic and Auxiliary tables that queries have made, which is what they cost."""
        return list(self._queries.scans)

    # How a request is served.

    def _serve(self, request: Request) -> Answer:
        if request.path.startswith(control.PREFIX):
            return control.answer(self, request)
        return self._front.serve(self._services, request)

    def _serve_managed_identity(self, request: Request) -> Answer:
        return self._front.serve([self._managed_identity], request)
