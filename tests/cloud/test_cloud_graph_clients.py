"""The proof that Graph's logs are faithful: Microsoft's own client reads them and notices nothing."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest
from azure.identity import ClientSecretCredential
from httpx import AsyncClient
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_authentication_azure.azure_identity_authentication_provider import (
    AzureIdentityAuthenticationProvider,
)
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.graph_request_adapter import GraphRequestAdapter
from msgraph.graph_service_client import GraphServiceClient
from msgraph_core.tasks.page_iterator import PageIterator  # type: ignore[import-untyped]  # it has none

from local.cloud import Cloud

# The generated client warns of its own classes, for which it has no successors.
pytestmark = pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")

Builder = Callable[[GraphServiceClient], Any]

LOGS = [
    pytest.param(
        "directoryAudits",
        lambda client: client.audit_logs.directory_audits,
        "activityDateTime ge 2026-11-01T00:00:00Z and activityDateTime le 2026-11-22T00:00:00Z",
        lambda _: True,
        id="directoryAudits",
    ),
    pytest.param(
        "signIns",
        lambda client: client.audit_logs.sign_ins,
        "createdDateTime ge 2026-11-01T00:00:00Z and createdDateTime le 2026-11-22T00:00:00Z",
        lambda record: record["signInEventTypes"] == ["interactiveUser"],
        id="signIns",
    ),
    pytest.param(
        "provisioning",
        lambda client: client.audit_logs.provisioning,
        "activityDateTime gt 2026-11-01T00:00:00Z and activityDateTime lt 2026-11-22T00:00:00Z",
        lambda _: True,
        id="provisioning",
    ),
    pytest.param(
        "riskDetections",
        lambda client: client.identity_protection.risk_detections,
        "detectedDateTime ge 2026-11-01T00:00:00Z and detectedDateTime le 2026-11-22T00:00:00Z",
        lambda _: True,
        id="riskDetections",
    ),
]
"""A log, where the client has it, a filter, and what the filter lets through."""


@asynccontextmanager
async def graph(cloud: Cloud) -> AsyncIterator[tuple[GraphServiceClient, GraphRequestAdapter]]:
    """Microsoft's client, pointed at the stand-in."""
    with ClientSecretCredential(
        cloud.tenant_id,
        cloud.client_id,
        cloud.client_secret,
        authority=cloud.url,
        disable_instance_discovery=True,
        connection_verify=str(cloud.ca_file),
    ) as credential:
        provider = AzureIdentityAuthenticationProvider(
            credential, scopes=["https://graph.microsoft.com/.default"], allowed_hosts=["127.0.0.1"]
        )
        context = ssl.create_default_context(cafile=str(cloud.ca_file))
        async with AsyncClient(verify=context) as http:
            adapter = GraphRequestAdapter(provider, client=http)
            adapter.base_url = f"{cloud.url}/v1.0"
            yield GraphServiceClient(request_adapter=adapter), adapter


def asked(builder: Any, **options: Any) -> RequestConfiguration[Any]:
    """The configuration of a request with query options, which each log has its own class for."""
    name = f"{type(builder).__name__}GetQueryParameters"
    return RequestConfiguration(query_parameters=getattr(type(builder), name)(**options))


@pytest.mark.parametrize(("log", "builder", "text", "matches"), LOGS)
def test_the_client_follows_next_links_over_short_and_empty_pages(
    cloud: Cloud, log: str, builder: Builder, text: str, matches: Callable[[Any], bool]
) -> None:
    """Every record arrives once, with that library's types."""

    async def walk() -> list[Any]:
        async with graph(cloud) as (client, _):
            requests = builder(client)
            page = await requests.get(asked(requests, top=9, filter=text))
            found = list(page.value)
            while page.odata_next_link:
                page = await requests.with_url(page.odata_next_link).get()
                found += page.value
            return found

    found = asyncio.run(walk())
    wanted = [record["id"] for record in cloud.records(log) if matches(record)]
    assert sorted(record.id for record in found) == sorted(wanted)
    assert len([seen for seen in cloud.requests if seen.api == "graph"]) >= 4
    instants = ("activity_date_time", "created_date_time", "detected_date_time")
    assert all(
        isinstance(next(filter(None, (getattr(each, name, None) for name in instants))), datetime)
        for each in found
    )
    # What the library's types do not know it keeps aside.
    assert not any(record.additional_data for record in found)


@pytest.mark.parametrize(("log", "builder", "text", "matches"), LOGS)
def test_the_clients_page_iterator_reads_every_page(
    cloud: Cloud, log: str, builder: Builder, text: str, matches: Callable[[Any], bool]
) -> None:
    """Without empty pages, because it takes one for the end."""
    cloud.set_limits(uneven_pages=False)

    async def walk() -> list[str]:
        async with graph(cloud) as (client, adapter):
            requests = builder(client)
            found: list[str] = []

            def take(record: Any) -> bool:
                found.append(record.id)
                return True

            first = await requests.get(asked(requests, top=7, filter=text))
            await PageIterator(first, adapter).iterate(take)
            return found

    found = asyncio.run(walk())
    wanted = [record["id"] for record in cloud.records(log) if matches(record)]
    assert sorted(found) == sorted(wanted)


def test_the_client_reads_nested_values(cloud: Cloud) -> None:
    """Enumerations, objects in objects, and JSON that is text."""
    cloud.add_records(
        "riskDetections", [{"id": "mine", "riskState": "remediated", "location": {"city": "Łódź"}}]
    )

    async def read() -> list[Any]:
        async with graph(cloud) as (client, _):
            risks = client.identity_protection.risk_detections
            pages: list[Any] = [
                await client.audit_logs.sign_ins.get(),
                await client.audit_logs.provisioning.get(),
                await risks.get(asked(risks, filter="id eq 'mine'")),
            ]
            return [page.value[0] for page in pages]

    sign_in, provisioning, risk = asyncio.run(read())
    known = next(each for each in cloud.records("signIns") if each["id"] == sign_in.id)
    assert sign_in.status.error_code == known["status"]["errorCode"]
    assert sign_in.location.geo_coordinates.latitude == known["location"]["geoCoordinates"]["latitude"]
    assert sign_in.is_interactive is True
    known = next(each for each in cloud.records("provisioning") if each["id"] == provisioning.id)
    assert provisioning.provisioning_action.value == known["provisioningAction"]
    assert provisioning.provisioning_status_info.status.value == known["provisioningStatusInfo"]["status"]
    assert provisioning.provisioning_steps[0].provisioning_step_type.value == "export"
    assert provisioning.initiated_by.initiator_type.value == "system"
    assert (risk.risk_state.value, risk.location.city, risk.additional_info) == ("remediated", "Łódź", "[]")


def test_the_client_understands_the_errors(cloud: Cloud) -> None:
    """Code, message and request id are where that library looks for them."""
    cloud.set_limits(premium=False)

    async def read() -> None:
        async with graph(cloud) as (client, _):
            await client.audit_logs.sign_ins.get()

    with pytest.raises(ODataError) as caught:
        asyncio.run(read())
    assert caught.value.response_status_code == 403
    assert caught.value.error is not None
    assert caught.value.error.code == "Authentication_RequestFromNonPremiumTenantOrB2CTenant"
    assert caught.value.error.inner_error is not None
    assert caught.value.error.inner_error.request_id
