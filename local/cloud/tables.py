"""The tables of the workspace: their columns in order, with their Kusto types.

A subset of the columns of the real tables ("Azure Monitor Logs table reference"), in their types.
"""

TIME = "TimeGenerated"

INGESTION_TIME = "ingestion_time()"
"""The item of a row that holds when it was ingested. No column can have this name, because of the
brackets."""

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
