"""Made-up sign-ins of the four kinds, the same for the same seed and end ("signIn resource type", beta)."""

import uuid
from random import Random
from typing import Any

from local.cloud.dataset import APPS, DOMAIN, PEOPLE, PLACES, made_up_instants
from local.cloud.identity import Identity, made_up_uuid
from local.cloud.options import Options
from local.cloud.ticks import DAY, format_instant

SignIn = dict[str, Any]

_DEVICE: SignIn = {
    "deviceId": "",
    "displayName": None,
    "operatingSystem": "",
    "browser": "",
    "isCompliant": None,
    "isManaged": None,
    "trustType": None,
}

EMPTY: SignIn = {
    "id": "",
    "createdDateTime": "",
    "userDisplayName": None,
    "userPrincipalName": None,
    "userId": None,
    "appId": None,
    "appDisplayName": None,
    "ipAddress": None,
    "clientAppUsed": None,
    "correlationId": None,
    "conditionalAccessStatus": "notApplied",
    "isInteractive": True,
    "riskDetail": "none",
    "riskLevelAggregated": "none",
    "riskLevelDuringSignIn": "none",
    "riskState": "none",
    "riskEventTypes": [],
    "riskEventTypes_v2": [],
    "resourceDisplayName": None,
    "resourceId": None,
    "status": {"errorCode": 0, "failureReason": "Other.", "additionalDetails": None},
    "deviceDetail": _DEVICE,
    "location": {"city": None, "state": None, "countryOrRegion": None, "geoCoordinates": None},
    "appliedConditionalAccessPolicies": [],
    "signInEventTypes": ["interactiveUser"],
    "servicePrincipalId": None,
    "servicePrincipalName": None,
    "userType": None,
    "userAgent": None,
    "homeTenantId": None,
    "resourceTenantId": None,
    "sessionId": None,
    "originalRequestId": None,
    "uniqueTokenIdentifier": None,
    "tokenIssuerName": "",
    "tokenIssuerType": "AzureAD",
    "crossTenantAccessType": "none",
    "authenticationRequirement": "singleFactorAuthentication",
    "authenticationDetails": [],
    "networkLocationDetails": [],
    "processingTimeInMilliseconds": 0,
}
"""Every member that beta sends, in its order."""

BETA_ONLY = frozenset(list(EMPTY)[list(EMPTY).index("signInEventTypes") :])
"""The members that v1.0 does not have."""

_KINDS = ("interactiveUser", "nonInteractiveUser", "servicePrincipal", "managedIdentity")
_SHARES = (4, 6, 3, 1)
_FAILURES = (
    (50126, "Error validating credentials due to invalid username or password."),
    (50074, "Strong Authentication is required."),
    (53003, "Access has been blocked by Conditional Access policies."),
)


def new_id(random: Random | None = None) -> str:
    """An id such as the service's, a GUID."""
    return str(uuid.uuid4()) if random is None else made_up_uuid(random)


def made_up_sign_ins(options: Options, identity: Identity, end: int) -> list[SignIn]:
    """`options.sign_ins` records of the time before `end` (ticks), most of them without a user's doing."""
    random = Random(f"{options.seed} sign-ins")  # noqa: S311 (test data)
    span = round(options.audit_days * DAY)
    return [
        _sign_in(random, identity, time, random.choices(_KINDS, _SHARES)[0])
        for time in made_up_instants(random, options.sign_ins, end, span)
    ]


def _sign_in(random: Random, identity: Identity, time: int, kind: str) -> SignIn:
    id_ = new_id(random)
    code, reason = random.choice(_FAILURES) if random.random() < 0.2 else (0, "Other.")
    country, city, latitude, longitude = random.choice(PLACES)
    return {
        **EMPTY,
        **(_person(random, identity) if kind.endswith("User") else _workload(random, kind)),
        "id": id_,
        "createdDateTime": format_instant(time),
        "correlationId": made_up_uuid(random),
        "ipAddress": ""
        if kind == "managedIdentity"
        else f"10.{random.randrange(9)}.0.{random.randrange(256)}",
        "isInteractive": kind == "interactiveUser",
        "resourceDisplayName": random.choice(("Microsoft Graph", "Azure Key Vault", "經費 API")),
        "resourceId": made_up_uuid(random),
        "status": {"errorCode": code, "failureReason": reason, "additionalDetails": None},
        "location": {
            "city": city,
            "state": random.choice(("", "Washington", None)),
            "countryOrRegion": country,
            "geoCoordinates": {"altitude": None, "latitude": latitude, "longitude": longitude},
        },
        "signInEventTypes": [kind],
        "originalRequestId": id_,
        "uniqueTokenIdentifier": f"{random.getrandbits(96):024x}==",
        "resourceTenantId": identity.tenant_id,
        "processingTimeInMilliseconds": random.randrange(40, 900),
    }


def _person(random: Random, identity: Identity) -> SignIn:
    name, alias = random.choice(PEOPLE)
    app = random.choice(APPS)
    return {
        "userDisplayName": name,
        "userPrincipalName": f"{alias}@{DOMAIN}",
        "userId": made_up_uuid(random),
        "appId": made_up_uuid(random),
        "appDisplayName": app,
        "clientAppUsed": random.choice(("Browser", "Mobile Apps and Desktop clients", "IMAP4")),
        "userType": random.choice(("member", "guest")),
        "userAgent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) „Edge“",
        "homeTenantId": identity.tenant_id,
        "sessionId": made_up_uuid(random),
        "deviceDetail": {**_DEVICE, "operatingSystem": "Windows 10", "browser": "Edge 140.0.0"},
        "appliedConditionalAccessPolicies": [
            {
                "id": made_up_uuid(random),
                "displayName": 'Block "legacy" access',
                "enforcedGrantControls": ["Block"],
                "enforcedSessionControls": [],
                "result": random.choice(("success", "notEnabled")),
            }
        ][: random.randrange(2)],
        "authenticationDetails": [
            {
                "authenticationMethod": "Password",
                "authenticationStepResultDetail": "Correct password",
                "succeeded": True,
            }
        ][: random.randrange(2)],
    }


def _workload(random: Random, kind: str) -> SignIn:
    name = random.choice(("billing-export", "ci-pipeline", "バックアップ"))
    return {
        "appId": made_up_uuid(random),
        "appDisplayName": "" if kind == "managedIdentity" else name,
        "servicePrincipalId": made_up_uuid(random),
        "servicePrincipalName": name,
        # The service has empty texts, not nulls, where there is no user.
        "userId": "",
        "userDisplayName": "",
        "userPrincipalName": "",
    }
