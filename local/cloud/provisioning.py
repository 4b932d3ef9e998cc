"""Made-up provisioning events, the same for the same seed and end.

Source: "provisioningObjectSummary resource type".
"""

import uuid
from random import Random
from typing import Any

from local.cloud.dataset import DOMAIN, PEOPLE, made_up_instants
from local.cloud.identity import Identity, made_up_uuid
from local.cloud.options import Options
from local.cloud.ticks import DAY, SECOND, format_instant

Provisioning = dict[str, Any]

_NOBODY: Provisioning = {"id": "", "displayName": "", "identityType": "User", "details": {}}

EMPTY: Provisioning = {
    "id": "",
    "activityDateTime": "",
    "tenantId": "",
    "jobId": "",
    "cycleId": "",
    "changeId": "",
    "provisioningAction": "other",
    "durationInMilliseconds": 0,
    "servicePrincipal": {"id": "", "displayName": ""},
    "sourceSystem": {"id": "", "displayName": "", "details": {}},
    "targetSystem": {"id": "", "displayName": "", "details": {}},
    "initiatedBy": {"id": "", "displayName": "Azure AD Provisioning Service", "initiatorType": "system"},
    "sourceIdentity": _NOBODY,
    "targetIdentity": _NOBODY,
    "provisioningStatusInfo": {"status": "success", "errorInformation": None},
    "provisioningSteps": [],
    "modifiedProperties": [],
}
"""Every member that the service sends, in its order."""

_TARGETS = ("Contoso HR", "ServiceNow", "Łódź & Söhne")
_FAILURE: Provisioning = {
    "errorCode": "ContosoEntryConflict",
    "reason": "Message: Contoso answered 409.\r\nAn object of that name exists already.",
    "additionalDetails": None,
    "errorCategory": "nonServiceFailure",
    "recommendedAction": None,
}


def new_id(random: Random | None = None) -> str:
    """An id such as the service's, a GUID."""
    return str(uuid.uuid4()) if random is None else made_up_uuid(random)


def made_up_provisionings(options: Options, identity: Identity, end: int) -> list[Provisioning]:
    """`options.provisionings` records of the time before `end` (ticks), mostly at whole seconds."""
    random = Random(f"{options.seed} provisioning")  # noqa: S311 (test data)
    span = round(options.audit_days * DAY)
    targets = [(made_up_uuid(random), name) for name in _TARGETS]
    return [
        _provisioning(random, identity, time - (time % SECOND if random.random() < 0.8 else 0), targets)
        for time in made_up_instants(random, options.provisionings, end, span)
    ]


def _provisioning(
    random: Random, identity: Identity, time: int, targets: list[tuple[str, str]]
) -> Provisioning:
    target_id, target = random.choice(targets)
    name, alias = random.choice(PEOPLE)
    status = "failure" if random.random() < 0.15 else "success"
    tenant = identity.tenant_id.replace("-", "")
    source = {"id": made_up_uuid(random), "displayName": f"{alias}@{DOMAIN}", "identityType": "User"}
    return EMPTY | {
        "id": new_id(random),
        "activityDateTime": format_instant(time),
        "tenantId": identity.tenant_id,
        "jobId": f"scim.{tenant}.{target_id}",
        "cycleId": made_up_uuid(random),
        "changeId": made_up_uuid(random),
        "provisioningAction": random.choice(("create", "update", "disable", "stagedDelete", "other")),
        "durationInMilliseconds": random.randrange(200, 9_000),
        "servicePrincipal": {"id": target_id, "displayName": target},
        "sourceSystem": {"id": made_up_uuid(random), "displayName": "Microsoft Entra ID", "details": {}},
        "targetSystem": {
            "id": made_up_uuid(random),
            "displayName": target,
            "details": {"ServicePrincipalId": target_id, "ServicePrincipalDisplayName": target},
        },
        "sourceIdentity": {**source, "details": {"odatatype": "User"}},
        "targetIdentity": _NOBODY if status == "failure" else {**source, "details": {}},
        "provisioningStatusInfo": {
            "status": status,
            "errorInformation": _FAILURE if status == "failure" else None,
        },
        "provisioningSteps": [
            {
                "name": "EntryExportAdd",
                "provisioningStepType": "export",
                "status": status,
                "description": f"User '{name}' in {target}",
                "details": {"ReportableIdentifier": f"{alias}@{DOMAIN}"},
            }
        ],
        "modifiedProperties": [
            {"displayName": "displayName", "oldValue": random.choice((None, alias)), "newValue": name},
            {"displayName": "active", "oldValue": None, "newValue": "True"},
        ][: random.randrange(3)],
    }
