"""A stand-in for Entra ID, Log Analytics and Microsoft Graph on one loopback port, over TLS.

It speaks the documented wire formats, checks what the services check (tokens, audiences, content types,
filters) and keeps their limits, so that the app, and Microsoft's own clients, cannot tell it from the real
thing. KQL runs on a real engine over a deterministic, realistic data set.

In process, for tests::

    from local.cloud import Cloud, Options

    with Cloud(Options(seed=7, events=500), folder=tmp_path) as cloud:
        app_settings = cloud.environment()  # names and values; every endpoint is cloud.url
        cloud.add_rows("Event", [{"Computer": "late"}], ingested="2026-11-21T10:01:00.0000001Z")
        cloud.fail("log_analytics", "429", retry_after=1)
        ...
        assert [seen.status for seen in cloud.requests] == [200, 429, 200]

As a process, for demos and end-to-end tests::

    python -m local.cloud --folder .local/cloud --events 200000

which prints one JSON line when it is ready (``url``, ``ca_file``, ``environment``); everything that the
methods of `Cloud` do is then reachable through `ControlClient(url, ca_file)`, which has the same methods.

`Cloud` and `ControlClient` share (see `local.cloud.cloud.Cloud` for each one's words):

    add_rows(table, rows, ingested=NOW, visible_at=None, workspace=None)
    remove_rows(table, which, workspace=None)
    rows(table, workspace=None)            tables()             search_tables()
    add_records(log, records)              remove_records(log, ids)
    replace_record(log, id, record)        records(log)
    add_audits(records)                    remove_audits(ids)
    replace_audit(id, record)              audits()
    add_search_records(records)            search_records()
    add_activities(report, records)        activities(report)
    fail(api, kind, …)                     clear_faults()
    set_limits(**changes)                  limits               expire_tokens()
    requests                               clear_requests()     scans
    environment()                          managed_identity_environment()
    certificate_environment()              workload_identity_environment()
    url, ca_file, tenant_id, client_id, client_secret, workspace_id, foreign_workspace_id
    workspace_ids, workspace_resource_ids, foreign_resource_id

Row values are given and returned as the query service's wire has them: `datetime` as text with up to seven
digits and ``Z``, `timespan` as ``[-][d.]hh:mm:ss[.fffffff]``, `decimal` and `dynamic` as text, `real` as a
number or ``"NaN"``/``"Infinity"``/``"-Infinity"``. The ingestion time of a row is its item `INGESTION_TIME`.
"""

from local.cloud.cloud import Cloud
from local.cloud.control import ControlClient
from local.cloud.faults import Fault
from local.cloud.options import Limits, Options
from local.cloud.query_service import Scan
from local.cloud.server import Seen
from local.cloud.tables import INGESTION_TIME

__all__ = ["INGESTION_TIME", "Cloud", "ControlClient", "Fault", "Limits", "Options", "Scan", "Seen"]
