"""The proof that the stand-in is faithful: Microsoft's own clients use it and notice nothing."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from azure.core.credentials import TokenCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import (
    CertificateCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure.monitor.query import LogsQueryClient, LogsQueryPartialResult, LogsQueryResult, LogsQueryStatus

from local.cloud import Cloud

LOG_ANALYTICS = "https://api.loganalytics.io"
ALL_TIME = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def client_secret(cloud: Cloud) -> ClientSecretCredential:
    """The credential of the stand-in's app registration."""
    return ClientSecretCredential(
        cloud.tenant_id,
        cloud.client_id,
        cloud.client_secret,
        authority=cloud.url,
        disable_instance_discovery=True,
        connection_verify=str(cloud.ca_file),
    )


def certificate(cloud: Cloud) -> CertificateCredential:
    """The same app with its certificate."""
    return CertificateCredential(
        cloud.tenant_id,
        cloud.client_id,
        cloud.certificate_environment()["AZURE_CLIENT_CERTIFICATE_PATH"],
        authority=cloud.url,
        disable_instance_discovery=True,
        connection_verify=str(cloud.ca_file),
    )


def workload_identity(cloud: Cloud) -> WorkloadIdentityCredential:
    """The same app with a federated token."""
    return WorkloadIdentityCredential(
        tenant_id=cloud.tenant_id,
        client_id=cloud.client_id,
        token_file_path=cloud.workload_identity_environment()["AZURE_FEDERATED_TOKEN_FILE"],
        authority=cloud.url,
        disable_instance_discovery=True,
        connection_verify=str(cloud.ca_file),
    )


@pytest.mark.parametrize("make", [client_secret, certificate, workload_identity])
def test_credentials_of_azure_identity_get_tokens_that_open_the_api(
    cloud: Cloud, make: Callable[[Cloud], TokenCredential]
) -> None:
    """Secret, certificate and federated token each lead to an answer."""
    credential = make(cloud)
    with LogsQueryClient(
        credential, endpoint=cloud.url, audience=LOG_ANALYTICS, connection_verify=str(cloud.ca_file)
    ) as client:
        result = client.query_workspace(cloud.workspace_id, "Event | count", timespan=None)
    assert isinstance(result, LogsQueryResult)
    assert result.tables[0].rows[0][0] == 20
    getattr(credential, "close", lambda: None)()


def test_a_managed_identity_gets_a_token(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the endpoint that Functions gives an app."""
    for name, value in cloud.managed_identity_environment().items():
        monkeypatch.setenv(name, value)
    credential = ManagedIdentityCredential()
    with LogsQueryClient(
        credential, endpoint=cloud.url, audience=LOG_ANALYTICS, connection_verify=str(cloud.ca_file)
    ) as client:
        result = client.query_workspace(cloud.workspace_id, "print 1", timespan=None)
    assert result.status == LogsQueryStatus.SUCCESS
    credential.close()


def test_a_wrong_secret_is_an_authentication_error(cloud: Cloud) -> None:
    """azure-identity shows the service's own words."""
    credential = ClientSecretCredential(
        cloud.tenant_id,
        cloud.client_id,
        "wrong",
        authority=cloud.url,
        disable_instance_discovery=True,
        connection_verify=str(cloud.ca_file),
    )
    with credential, pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        credential.get_token(f"{LOG_ANALYTICS}/.default")


def test_logs_query_client_reads_types_and_statistics(cloud: Cloud) -> None:
    """Values arrive as that library's types; its truncation of the seventh digit is its own."""
    cloud.add_rows(
        "Event",
        [
            {
                "Source": "client",
                "TimeGenerated": "2026-11-21T10:00:00.1234567Z",
                "EventRecordId": 2**53 + 1,
                "Duration": "1.00:00:00",
                "EventID": None,
            }
        ],
    )
    with LogsQueryClient(
        client_secret(cloud), endpoint=cloud.url, audience=LOG_ANALYTICS, connection_verify=str(cloud.ca_file)
    ) as client:
        result = client.query_workspace(
            cloud.workspace_id,
            "Event | where Source == 'client'"
            "| project TimeGenerated, EventRecordId, Duration, EventID, Source",
            timespan=ALL_TIME,
            include_statistics=True,
            server_timeout=300,
        )
    assert isinstance(result, LogsQueryResult)
    row = list(result.tables[0].rows[0])
    assert row == [
        datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC),
        2**53 + 1,
        "1.00:00:00",
        None,
        "client",
    ]
    assert result.statistics is not None
    assert result.statistics["query"]["datasetStatistics"][0]["tableRowCount"] == 1
    assert cloud.requests[-1].headers["prefer"] == "wait=300,include-statistics=true"


def test_logs_query_client_sees_partial_results_and_errors(cloud: Cloud) -> None:
    """A truncated answer is that library's partial result, a wrong query its error."""
    with LogsQueryClient(
        client_secret(cloud), endpoint=cloud.url, audience=LOG_ANALYTICS, connection_verify=str(cloud.ca_file)
    ) as client:
        cloud.set_limits(rows=5)
        partial = client.query_workspace(cloud.workspace_id, "Event", timespan=timedelta(days=4000))
        assert isinstance(partial, LogsQueryPartialResult)
        assert len(partial.partial_data[0].rows) == 5
        assert partial.partial_error is not None
        assert partial.partial_error.code == "PartialError"
        assert "E_QUERY_RESULT_SET_TOO_LARGE" in str(partial.partial_error)
        with pytest.raises(HttpResponseError, match="Nope") as caught:
            client.query_workspace(cloud.workspace_id, "Nope", timespan=None)
        assert caught.value.status_code == 400


# The generated client warns of its own classes, for which it has no successors.
@pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")
def test_graph_sdk_walks_the_directory_audits(cloud: Cloud) -> None:
    """Every record arrives once, over short and empty pages, with that library's types."""
    from httpx import AsyncClient
    from kiota_authentication_azure.azure_identity_authentication_provider import (
        AzureIdentityAuthenticationProvider,
    )
    from msgraph.generated.audit_logs.directory_audits.directory_audits_request_builder import (
        DirectoryAuditsRequestBuilder,
    )
    from msgraph.graph_request_adapter import GraphRequestAdapter
    from msgraph.graph_service_client import GraphServiceClient

    async def walk() -> list[tuple[str | None, datetime | None]]:
        context = ssl.create_default_context(cafile=str(cloud.ca_file))
        async with AsyncClient(verify=context) as http:
            credential = client_secret(cloud)
            provider = AzureIdentityAuthenticationProvider(
                credential, scopes=["https://graph.microsoft.com/.default"], allowed_hosts=["127.0.0.1"]
            )
            adapter = GraphRequestAdapter(provider, client=http)
            adapter.base_url = f"{cloud.url}/v1.0"
            audits = GraphServiceClient(request_adapter=adapter).audit_logs.directory_audits
            query = DirectoryAuditsRequestBuilder.DirectoryAuditsRequestBuilderGetQueryParameters(
                top=7, filter="activityDateTime ge 2026-11-01T00:00:00Z"
            )
            from kiota_abstractions.base_request_configuration import RequestConfiguration

            page = await audits.get(RequestConfiguration(query_parameters=query))
            found = []
            while page is not None:
                found += [(record.id, record.activity_date_time) for record in page.value or []]
                if not page.odata_next_link:
                    break
                page = await audits.with_url(page.odata_next_link).get()
            credential.close()
            return found

    found = asyncio.run(walk())
    assert [name for name, _ in found] == [record["id"] for record in cloud.audits()]
    assert all(isinstance(moment, datetime) for _, moment in found)
