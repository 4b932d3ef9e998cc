"""The tables of the workspace: their columns in order, with their Kusto types.

A subset of the columns of the real tables ("Azure Monitor Logs table reference"), in their types.
"""

from typing import Literal, get_args

TIME = "TimeGenerated"

INGESTION_TIME = "ingestion_time()"
"""The item of a row that holds when it was ingested. No column can have this name, because of the
brackets."""

Plan = Literal["Analytics", "Basic", "Auxiliary"]
"""How a table's rows are kept and asked for ("Select a table plan in a Log Analytics workspace")."""

PLANS: frozenset[str] = frozenset(get_args(Plan))

_STANDARD = {"Type": "string", "_ItemId": "string", "_ResourceId": "string"}

TABLES: dict[str, dict[str, str]] = {
    "Event": {
        "TenantId": "string",
        "SourceSystem": "string",
        TIME: "datetime",
        "Source": "string",
        "EventLog": "string",
        "Computer": "string",
        "EventLevel": "int",
        "EventLevelName": "string",
        "ParameterXml": "string",
        "EventData": "string",
        "EventID": "int",
        "RenderedDescription": "string",
        "EventCategory": "int",
        "UserName": "string",
        "EventRecordId": "long",
        "Correlation": "guid",
        "Duration": "timespan",
    }
    | _STANDARD,
    "Heartbeat": {
        "TenantId": "string",
        "SourceSystem": "string",
        TIME: "datetime",
        "MG": "guid",
        "Computer": "string",
        "SourceComputerId": "string",
        "ComputerIP": "string",
        "Category": "string",
        "OSType": "string",
        "OSName": "string",
        "OSMajorVersion": "string",
        "Version": "string",
        "IsGatewayInstalled": "bool",
        "RemoteIPLongitude": "real",
        "RemoteIPLatitude": "real",
        "RemoteIPCountry": "string",
        "ComputerEnvironment": "string",
        "Resource": "string",
        "Uptime": "timespan",
    }
    | _STANDARD,
    "SigninLogs": {
        "TenantId": "string",
        "SourceSystem": "string",
        TIME: "datetime",
        "OperationName": "string",
        "Category": "string",
        "ResultType": "string",
        "ResultDescription": "string",
        "DurationMs": "long",
        "CorrelationId": "string",
        "Identity": "string",
        "Location": "string",
        "AppDisplayName": "string",
        "AppId": "string",
        "ClientAppUsed": "string",
        "ConditionalAccessPolicies": "dynamic",
        "CreatedDateTime": "datetime",
        "DeviceDetail": "dynamic",
        "IsInteractive": "bool",
        "IPAddress": "string",
        "LocationDetails": "dynamic",
        "RiskScore": "real",
        "Status": "dynamic",
        "UserDisplayName": "string",
        "UserPrincipalName": "string",
        "UniqueTokenIdentifier": "string",
        "SessionId": "guid",
    }
    | _STANDARD,
    "AzureActivity": {
        "TenantId": "string",
        "SourceSystem": "string",
        TIME: "datetime",
        "OperationNameValue": "string",
        "Level": "string",
        "ActivityStatusValue": "string",
        "ActivitySubstatusValue": "string",
        "ResourceGroup": "string",
        "SubscriptionId": "string",
        "CallerIpAddress": "string",
        "Caller": "string",
        "CategoryValue": "string",
        "CorrelationId": "string",
        "Authorization_d": "dynamic",
        "Claims_d": "dynamic",
        "Properties_d": "dynamic",
        "EventSubmissionTimestamp": "datetime",
        "EventDataId": "string",
        "SequenceNumber": "long",
        "EstimatedCost": "decimal",
    }
    | _STANDARD,
}

BASIC, AUXILIARY = "ContainerLogV2", "Firewall_CL"

CHEAP_TABLES: dict[str, tuple[Plan, dict[str, str]]] = {
    BASIC: (
        "Basic",
        {
            "TenantId": "string",
            TIME: "datetime",
            "Computer": "string",
            "ContainerId": "string",
            "ContainerName": "string",
            "PodName": "string",
            "PodNamespace": "string",
            "LogMessage": "dynamic",
            "LogSource": "string",
            "LogLevel": "string",
            "KubernetesMetadata": "dynamic",
        }
        | _STANDARD,
    ),
    AUXILIARY: (
        "Auxiliary",
        {
            "TenantId": "string",
            TIME: "datetime",
            "SourceIp": "string",
            "DestinationIp": "string",
            "DestinationPort": "int",
            "Action": "string",
            "BytesSent": "long",
            "RawData": "string",
        }
        | _STANDARD,
    ),
}
"""The tables of other plans than Analytics, which a workspace has only where options ask for them."""
