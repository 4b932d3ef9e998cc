"""Made-up directory audits, the same for the same seed and end ("directoryAudit resource type")."""

import uuid
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from local.cloud.dataset import DOMAIN, PEOPLE
from local.cloud.identity import Identity, made_up_uuid
from local.cloud.options import Options
from local.cloud.ticks import DAY, SECOND, format_instant

Audit = dict[str, Any]

EMPTY: Audit = {
    "id": "",
    "category": None,
    "correlationId": None,
    "result": "success",
    "resultReason": "",
    "activityDisplayName": "",
    "activityDateTime": "",
    "loggedByService": None,
    "operationType": "",
    "initiatedBy": {"app": None, "user": None},
    "targetResources": [],
    "additionalDetails": [],
}
"""Every member that the service sends, in its order."""

_ACTIVITIES = (
    ("Update user", "UserManagement", "Core Directory", "Update"),
    ("Add user", "UserManagement", "Core Directory", "Add"),
    ("Add member to group", "GroupManagement", "Core Directory", "Assign"),
    ("Add member to role completed (PIM activation)", "RoleManagement", "PIM", "ActivateRole"),
    ("GroupLifecyclePolicies_Get", "GroupManagement", "Self-service Group Management", "Update"),
    ("Consent to application", "ApplicationManagement", "Core Directory", "Assign"),
    ("User registered security info", "UserManagement", "Authentication Methods", "Add"),
)


def new_id(random: Random | None = None) -> str:
    """An id such as the service's: composite, and not always a GUID."""
    random = random or Random(uuid.uuid4().int)  # noqa: S311 (test data)
    number = random.randrange(10**6, 10**8)
    forms: tuple[Callable[[], str], ...] = (
        lambda: f"Directory_{random.getrandbits(24):06X}V4_{number}",
        lambda: f"SSGM_{made_up_uuid(random)}_MCDC4_{number}",
        lambda: f"PIM_{made_up_uuid(random)}_0CH8K_{number}",
        lambda: f"{made_up_uuid(random)}_{number}",
    )
    return random.choice(forms)()


def made_up_audits(options: Options, identity: Identity, end: int) -> list[Audit]:
    """`options.audits` records of the time before `end` (ticks); several share one instant."""
    random = Random(f"{options.seed} audits")  # noqa: S311 (test data)
    span = round(options.audit_days * DAY)
    audits, time = [], end - span // 2
    for _ in range(options.audits):
        kind = random.random()
        if kind >= 0.05:
            time = end - 1 - int(random.random() * span)
        if 0.05 <= kind < 0.10:
            time -= time % SECOND
        audits.append(_audit(random, identity, time))
    return audits


def _audit(random: Random, identity: Identity, time: int) -> Audit:
    activity, category, service, operation = random.choice(_ACTIVITIES)
    failed = random.random() < 0.1
    return EMPTY | {
        "id": new_id(random),
        "category": category if random.random() < 0.98 else None,
        "correlationId": made_up_uuid(random),
        "result": "failure" if failed else "success",
        "resultReason": "Microsoft.Online.Workflows.ValidationException"
        if failed
        else random.choice(("", "OK", None)),
        "activityDisplayName": activity,
        "activityDateTime": format_instant(time),
        "loggedByService": service,
        "operationType": operation,
        "initiatedBy": _initiator(random, identity),
        "targetResources": [_target(random) for _ in range(random.randrange(3))],
        "additionalDetails": [
            {"key": "User-Agent", "value": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) „Edge“"},
            {"key": "AppId", "value": made_up_uuid(random)},
        ][: random.randrange(3)],
    }


def _initiator(random: Random, identity: Identity) -> Audit:
    if random.random() < 0.3:
        return {
            "user": None,
            "app": {
                "appId": None,
                "displayName": random.choice(
                    ("Microsoft Azure AD Group-Based Licensing", "MS-PIM", "Bereitstellung ⚙")
                ),
                "servicePrincipalId": made_up_uuid(random),
                "servicePrincipalName": None,
            },
        }
    _, alias = random.choice(PEOPLE)
    return {
        "app": None,
        "user": {
            "id": made_up_uuid(random),
            "displayName": None,
            "userPrincipalName": f"{alias}@{DOMAIN}" if random.random() < 0.9 else None,
            "ipAddress": f"10.0.{random.randrange(256)}.{random.randrange(256)}",
            "userType": None,
            "homeTenantId": random.choice((identity.tenant_id, None)),
            "homeTenantName": None,
        },
    }


def _target(random: Random) -> Audit:
    name, alias = random.choice(PEOPLE)
    department = random.choice(("Verkauf", "経理", "R&D\tLab", 'the "new" team'))
    changes = [
        {
            "displayName": "Department",
            # The service wraps values in JSON of their own.
            "oldValue": msgspec.json.encode([department]).decode() if random.random() < 0.5 else None,
            "newValue": msgspec.json.encode([department, name]).decode(),
        },
        {"displayName": "Included Updated Properties", "oldValue": None, "newValue": '"Department"'},
        {"displayName": "Role.DisplayName", "oldValue": None, "newValue": '"Global Administrator"'},
    ]
    return {
        "id": made_up_uuid(random),
        "displayName": name if random.random() < 0.7 else None,
        "type": random.choice(("User", "Group", "Role", "N/A")),
        "userPrincipalName": f"{alias}@{DOMAIN}",
        "groupType": random.choice((None, None, "unifiedGroups")),
        "modifiedProperties": changes[: random.randrange(4)],
    }
