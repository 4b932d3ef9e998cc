"""Made-up records of Azure AD Graph's two reports, the same for the same seed and end.

No record of these reports was published: the members are those that public clients read, and the case of
some of their names and values is a guess.
"""

from collections.abc import Mapping
from random import Random
from typing import Any

from local.cloud.audits import new_id
from local.cloud.dataset import DOMAIN, PEOPLE
from local.cloud.identity import Identity, made_up_uuid
from local.cloud.options import Options
from local.cloud.ticks import DAY, SECOND, UNIX_EPOCH, format_instant, parse_instant

Activity = dict[str, Any]

TIMES = {"audit": "activityDate", "signinEvents": "signinDateTime"}
"""Report -> the member that is a record's time; beside it is the same in milliseconds, ``…InMillis``."""

_NAMESPACE = "#Microsoft.ActiveDirectory.DataService.PublicApi.Model.Reporting.AuditLog."
_ACTIVITIES = (
    ("Add user", "User", "Add", "Directory"),
    ("Update application", "Application", "Update", "Directory"),
    ("Add member to group", "Group", "Assign", "SSGM"),
    ("Reset password (self-service)", "User", "Update", "SSPR"),
    ("Import", "User", "Add", "Sync"),
)
_APPS = ("Azure Portal", "Office 365 Exchange Online", "Bereitstellung ⚙")

_EMPTY: dict[str, Activity] = {
    "audit": {
        "id": "",
        "activity": "",
        "activityDate": "",
        "activityDateInMillis": 0,
        "activityType": "User",
        "activityOperationType": "Update",
        "activityResultStatus": "Success",
        "activityResultDescription": "",
        "category": "Directory",
        "correlationId": None,
        "internalCorrelationId": None,
        "componentOrSource": "Core Directory",
        "tenantId": "",
        "tenantName": DOMAIN,
        "tenantGeoLocation": "NA",
        "actor": None,
        "actorType": "User",
        "targets": [],
        "additionalDetails": [],
    },
    "signinEvents": {
        "id": "",
        "signinDateTime": "",
        "signinDateTimeInMillis": 0,
        "userId": None,
        "userPrincipalName": None,
        "userDisplayName": None,
        "appId": None,
        "appDisplayName": None,
        "ipAddress": None,
        "loginStatus": "Success",
        "failureReason": None,
        "deviceInformation": "",
        "location": None,
        "geoCoordinates": None,
        "mfaRequired": False,
        "tenantId": "",
    },
}


def completed(report: str, record: Mapping[str, Any], identity: Identity, stamp: str) -> Activity:
    """A record with every member that a report has; `stamp` (an ISO instant) is its time where it has none.

    Raises ValueError for another report, or for a time that is none.
    """
    if report not in TIMES:
        raise ValueError(f"no report {report!r} in Azure AD Graph; there are {', '.join(TIMES)}")
    time = TIMES[report]
    whole = {**_EMPTY[report], "id": new_id(), time: stamp, "tenantId": identity.tenant_id, **record}
    millis = (parse_instant(whole[time]) - UNIX_EPOCH) * 1_000 // SECOND
    return {**whole, f"{time}InMillis": millis}


def made_up_activities(report: str, options: Options, identity: Identity, end: int) -> list[Activity]:
    """`options.activities` records of the time before `end` (ticks); several share one instant."""
    random = Random(f"{options.seed} {report}")  # noqa: S311 (test data)
    make = _audit if report == "audit" else _sign_in
    span = round(options.audit_days * DAY)
    records, time = [], end - span // 2
    for _ in range(options.activities):
        kind = random.random()
        if kind >= 0.05:
            time = end - 1 - int(random.random() * span)
        if 0.05 <= kind < 0.10:
            time -= time % SECOND
        made = {"id": new_id(random), TIMES[report]: format_instant(time), **make(random)}
        records.append(completed(report, made, identity, ""))
    return records


def _audit(random: Random) -> Activity:
    activity, kind, operation, category = random.choice(_ACTIVITIES)
    name, alias = random.choice(PEOPLE)
    target, target_alias = random.choice(PEOPLE)
    failed = random.random() < 0.1
    return {
        "activity": activity,
        "activityType": kind,
        "activityOperationType": operation,
        "activityResultStatus": "Failure" if failed else "Success",
        "activityResultDescription": "The user „does not“ exist" if failed else "",
        "category": category,
        "correlationId": made_up_uuid(random),
        "internalCorrelationId": made_up_uuid(random),
        "actor": {
            "@odata.type": f"{_NAMESPACE}ActorUserEntity",
            "objectId": made_up_uuid(random),
            "name": name if random.random() < 0.5 else None,
            "userPrincipalName": f"{alias}@{DOMAIN}",
            "ipAddress": f"10.0.{random.randrange(256)}.{random.randrange(256)}",
        },
        "targets": [
            {
                "@odata.type": f"{_NAMESPACE}TargetResourceUserEntity",
                "objectId": made_up_uuid(random),
                "name": target,
                "targetResourceType": "User",
                "userPrincipalName": f"{target_alias}@{DOMAIN}",
            }
        ][: random.randrange(2)],
        "additionalDetails": [{"key": "User-Agent", "value": "Verkauf\t経理"}][: random.randrange(2)],
    }


def _sign_in(random: Random) -> Activity:
    name, alias = random.choice(PEOPLE)
    failed = random.random() < 0.1
    return {
        "userId": made_up_uuid(random),
        "userPrincipalName": f"{alias}@{DOMAIN}",
        "userDisplayName": name,
        "appId": made_up_uuid(random),
        "appDisplayName": random.choice(_APPS),
        "ipAddress": random.choice((f"10.0.{random.randrange(256)}.1", "2001:db8::1038")),
        "loginStatus": "Failure" if failed else "Success",
        "failureReason": "Invalid username or password" if failed else None,
        "deviceInformation": "Windows 10;Edge 80.0.361;",
        "location": {"city": "München", "state": "Bayern", "country": "DE"},
        "geoCoordinates": {"latitude": 48.137, "longitude": 11.575},
        "mfaRequired": random.random() < 0.3,
    }
