"""Made-up records of the unified audit log, the same for the same seed and end ("auditLogRecord").

Their shape is that of records read from a real tenant (rknightion/graph2otel): whole seconds, record types
in Pascal case although the documentation writes them otherwise, `clientIp` null where `auditData` has an
address, `userId` with the user's key and `userPrincipalName` with what `auditData` calls the user's id, and a
list of administrative units that holds one empty text where there is none.
"""

from random import Random
from typing import Any

from local.cloud.dataset import DOMAIN, PEOPLE
from local.cloud.identity import Identity, made_up_uuid
from local.cloud.options import Options
from local.cloud.ticks import DAY, SECOND, format_instant

Record = dict[str, Any]

EMPTY: Record = {
    "id": "",
    "createdDateTime": "",
    "auditLogRecordType": "AzureActiveDirectory",
    "operation": "",
    "organizationId": "",
    "userType": "Regular",
    "userId": "",
    "service": "AzureActiveDirectory",
    "objectId": None,
    "userPrincipalName": "",
    "clientIp": None,
    "administrativeUnits": [""],
    "auditData": {"@odata.type": "#microsoft.graph.security.defaultAuditData"},
}
"""Every member that the service sends, in its order."""

_ACTIVITIES = (
    ("AzureActiveDirectoryStsLogon", 15, "UserLoggedIn", "AzureActiveDirectory"),
    ("AzureActiveDirectory", 8, "Add member to group.", "AzureActiveDirectory"),
    ("AzureActiveDirectory", 8, "Update user.", "AzureActiveDirectory"),
    ("SharePointFileOperation", 6, "FileModified", "SharePoint"),
    ("ExchangeItemAggregated", 50, "MailItemsAccessed", "Exchange"),
    ("MicrosoftTeams", 25, "MessageSent", "MicrosoftTeams"),
)
_USER_TYPES = (("Regular", 0), ("Admin", 2), ("System", 4), ("Application", 5))


def made_up_records(options: Options, identity: Identity, end: int) -> list[Record]:
    """`options.search_records` records of the time before `end` (ticks); several share one second."""
    random = Random(f"{options.seed} unified audit log")  # noqa: S311 (test data)
    span = round(options.audit_days * DAY)
    records, time = [], end - span // 2
    for _ in range(options.search_records):
        if random.random() >= 0.05:
            time = end - SECOND - int(random.random() * span)
        records.append(_record(random, identity, time - time % SECOND))
    return records


def _record(random: Random, identity: Identity, time: int) -> Record:
    kind, number, operation, service = random.choice(_ACTIVITIES)
    name, alias = random.choice(PEOPLE)
    user_type, user_number = random.choice(_USER_TYPES)
    id_, created, key = made_up_uuid(random), format_instant(time), made_up_uuid(random)
    user = random.choice((f"{alias}@{DOMAIN}", f"{alias}@{DOMAIN}", made_up_uuid(random), "Not Available"))
    file = f"https://contoso.sharepoint.com/sites/{random.choice(('経理', 'r&d', 'verkauf'))}/{name}.docx"
    object_id = random.choice((file if service == "SharePoint" else made_up_uuid(random), None))
    address = random.choice((f"10.0.{random.randrange(256)}.{random.randrange(256)}", "2001:db8::1038"))
    return EMPTY | {
        "id": id_,
        "createdDateTime": created,
        "auditLogRecordType": kind,
        "operation": operation,
        "organizationId": identity.tenant_id,
        "userType": user_type,
        "userId": random.choice((key, "__NULL__")),
        "service": service,
        "objectId": object_id,
        "userPrincipalName": user,
        "administrativeUnits": random.choice(([""], [""], [made_up_uuid(random)])),
        "auditData": {
            **EMPTY["auditData"],
            "CreationTime": created,
            "Id": id_,
            "Operation": operation,
            "OrganizationId": identity.tenant_id,
            "RecordType@odata.type": "#Int64",
            "RecordType": number,
            "ResultStatus": random.choice(("Success", "Failed")),
            "UserKey": key,
            "UserType@odata.type": "#Int64",
            "UserType": user_number,
            "Version@odata.type": "#Int64",
            "Version": 1,
            "Workload": service,
            "ClientIP": address,
            "ObjectId": object_id,
            "UserId": user,
            "ExtendedProperties@odata.type": "#Collection(microsoft.graph.security.defaultAuditData)",
            "ExtendedProperties": [
                {"Name": "UserAgent", "Value": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) „Edge“"},
                {"Name": "Department", "Value": random.choice(("Verkauf", "経理", "R&D\tLab"))},
            ],
        },
    }
