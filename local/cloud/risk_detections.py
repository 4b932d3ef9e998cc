"""Made-up risk detections, the same for the same seed and end ("riskDetection resource type")."""

import uuid
from random import Random
from typing import Any

import msgspec

from local.cloud.dataset import DOMAIN, PEOPLE, PLACES, made_up_instants
from local.cloud.identity import made_up_uuid
from local.cloud.options import Options
from local.cloud.ticks import DAY, HOUR, SECOND, format_instant

RiskDetection = dict[str, Any]

EMPTY: RiskDetection = {
    "id": "",
    "requestId": None,
    "correlationId": None,
    "riskEventType": "generic",
    "riskState": "atRisk",
    "riskLevel": "medium",
    "riskDetail": "none",
    "source": "IdentityProtection",
    "detectionTimingType": "notDefined",
    "activity": "signin",
    "tokenIssuerType": "AzureAD",
    "ipAddress": None,
    "location": None,
    "activityDateTime": None,
    "detectedDateTime": "",
    "lastUpdatedDateTime": None,
    "userId": None,
    "userDisplayName": None,
    "userPrincipalName": None,
    "additionalInfo": "[]",
}
"""Every member that the service sends, in its order."""

_TYPES = (
    ("unfamiliarFeatures", "realtime", "signin"),
    ("anonymizedIPAddress", "realtime", "signin"),
    ("unlikelyTravel", "offline", "signin"),
    ("leakedCredentials", "offline", "user"),
)
_STATES = (("atRisk", "none"), ("remediated", "userPerformedSecuredPasswordReset"), ("dismissed", "hidden"))


def new_id(random: Random | None = None) -> str:
    """An id such as the service's: 64 hexadecimal digits."""
    random = random or Random(uuid.uuid4().int)  # noqa: S311 (test data)
    return f"{random.getrandbits(256):064x}"


def made_up_risk_detections(options: Options, end: int) -> list[RiskDetection]:
    """`options.risk_detections` records that were detected before `end` (ticks), some long after the act."""
    random = Random(f"{options.seed} risk detections")  # noqa: S311 (test data)
    span = round(options.audit_days * DAY)
    return [
        _detection(random, time, end) for time in made_up_instants(random, options.risk_detections, end, span)
    ]


def _detection(random: Random, detected: int, end: int) -> RiskDetection:
    kind, timing, activity = random.choice(_TYPES)
    state, detail = random.choice(_STATES)
    name, alias = random.choice(PEOPLE)
    country, city, *_ = random.choice(PLACES)
    is_late = timing == "offline"
    acted = detected - random.randrange(SECOND, 36 * HOUR if is_late else 5 * SECOND)
    updated = detected if state == "atRisk" else min(end - 1, detected + random.randrange(DAY))
    is_sign_in = activity == "signin"
    return EMPTY | {
        "id": new_id(random),
        "requestId": made_up_uuid(random) if is_sign_in else None,
        "correlationId": made_up_uuid(random) if is_sign_in else None,
        "riskEventType": kind,
        "riskState": state,
        "riskLevel": random.choice(("low", "medium", "high", "hidden")),
        "riskDetail": detail,
        "detectionTimingType": timing,
        "activity": activity,
        "ipAddress": f"10.9.{random.randrange(256)}.{random.randrange(256)}" if is_sign_in else None,
        "location": {"city": city, "state": "", "countryOrRegion": country, "geoCoordinates": None}
        if is_sign_in
        else None,
        "activityDateTime": format_instant(acted),
        "detectedDateTime": format_instant(detected),
        "lastUpdatedDateTime": format_instant(updated),
        "userId": made_up_uuid(random),
        "userDisplayName": name,
        "userPrincipalName": f"{alias}@{DOMAIN}",
        # The service sends JSON inside a text.
        "additionalInfo": msgspec.json.encode(
            [{"Key": "userAgent", "Value": "Mozilla/5.0 „Edge“"}, {"Key": "riskReasons", "Value": [kind]}]
        ).decode(),
    }
