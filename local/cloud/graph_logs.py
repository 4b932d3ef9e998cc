"""Graph's logs: where each is, what its records are made of and how it can be asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from local.cloud import audits, provisioning, risk_detections, sign_ins
from local.cloud.graph_filter import Grammar, instant, number, text
from local.cloud.graph_pages import Record

Family = Literal["reports", "identity_protection"]


@dataclass(frozen=True)
class Log:
    """One log.

    `path` is below the version; `time` is the property that decides a record's age. `empty` has every member
    of a record, with what it is where a test does not say; `new_id` makes an id. `beta_only` are the members
    that v1.0 does not send and cannot filter, `beta_filters` what only beta can be asked beside `filters`.
    `options` are the query options that it takes beside `$skiptoken`, `page` and `largest_page` how many
    records a page has without `$top` and at most.

    Requests of one `family` share a rate. `free` logs need no premium licence. `floor` says how a filter that
    names a time before the retention floor is answered: "named" is an error that names it, "limited" the
    error that `Limits.floor_error` says, "none" no error, and nothing of that time. `newest_first` logs are
    so ordered where the request has no `$orderby`; the others' order means nothing.
    """

    name: str
    path: str
    type_name: str
    time: str
    empty: Mapping[str, object]
    new_id: Callable[[Random | None], str]
    filters: Grammar
    beta_filters: Grammar = field(default_factory=dict)
    beta_only: frozenset[str] = frozenset()
    versions: tuple[str, ...] = ("v1.0", "beta")
    options: tuple[str, ...] = ("$filter", "$top", "$orderby")
    page: int = 1000
    largest_page: int = 1000
    family: Family = "reports"
    free: bool = False
    floor: Literal["named", "limited", "none"] = "limited"
    newest_first: bool = True

    def grammar(self, version: str) -> Grammar:
        """What `$filter` takes in a version."""
        return self.filters if version == "v1.0" else {**self.filters, **self.beta_filters}

    def members(self, version: str) -> list[str]:
        """The members of a record in a version."""
        return [each for each in self.empty if version != "v1.0" or each not in self.beta_only]

    def shown(self, record: Mapping[str, Any], version: str) -> Record:
        """A record as a version sends it."""
        hidden = self.beta_only if version == "v1.0" else ()
        return {name: value for name, value in record.items() if name not in hidden}


_IGNORED = {"gt": lambda *_: True, "lt": lambda *_: True}
"""Undocumented for directory audits, and reported to be ignored (security-api-solutions issue 23)."""

DIRECTORY_AUDITS = Log(
    name="directoryAudits",
    path="auditLogs/directoryAudits",
    type_name="microsoft.graph.directoryAudit",
    time="activityDateTime",
    empty=audits.EMPTY,
    new_id=audits.new_id,
    filters={
        "activityDateTime": instant("eq ge le", **_IGNORED),
        "activityDisplayName": text("eq startswith"),
        "correlationId": text("eq"),
        "id": text("eq"),
        "loggedByService": text("eq"),
        "initiatedBy/user/id": text("eq"),
        "initiatedBy/user/displayName": text("eq"),
        "initiatedBy/user/userPrincipalName": text("eq startswith"),
        "initiatedBy/app/appId": text("eq"),
        "initiatedBy/app/displayName": text("eq"),
        "targetResources/any/id": text("eq"),
        "targetResources/any/displayName": text("eq startswith"),
    },
    free=True,
    floor="named",
)
"""Filters: "directoryAudit resource type", which lists the properties and the operators of each."""

SIGN_INS = Log(
    name="signIns",
    path="auditLogs/signIns",
    type_name="microsoft.graph.signIn",
    time="createdDateTime",
    empty=sign_ins.EMPTY,
    new_id=sign_ins.new_id,
    beta_only=sign_ins.BETA_ONLY,
    filters={
        "createdDateTime": instant("eq ge le"),
        **dict.fromkeys(
            (
                *("id", "userId", "appId", "clientAppUsed", "conditionalAccessStatus", "correlationId"),
                *("resourceDisplayName", "resourceId", "riskDetail", "riskLevelAggregated"),
                *("riskLevelDuringSignIn", "riskState"),
            ),
            text("eq"),
        ),
        **dict.fromkeys(
            (
                *("appDisplayName", "ipAddress", "userDisplayName", "userPrincipalName"),
                *("deviceDetail/browser", "deviceDetail/operatingSystem"),
                *("location/city", "location/state", "location/countryOrRegion", "riskEventTypes_v2/any"),
            ),
            text("eq startswith"),
        ),
        "status/errorCode": number("eq"),
    },
    beta_filters={
        "signInEventTypes/any": text("eq ne"),
        **dict.fromkeys(("originalRequestId", "tokenIssuerName"), text("eq")),
        **dict.fromkeys(
            ("authenticationRequirement", "servicePrincipalId", "servicePrincipalName", "userAgent"),
            text("eq startswith"),
        ),
    },
)
"""Filters: "signIn resource type", of v1.0 and of beta."""

PROVISIONING = Log(
    name="provisioning",
    path="auditLogs/provisioning",
    type_name="microsoft.graph.provisioningObjectSummary",
    time="activityDateTime",
    empty=provisioning.EMPTY,
    new_id=provisioning.new_id,
    filters={
        "activityDateTime": instant("eq gt lt"),
        **dict.fromkeys(
            (
                *("id", "tenantId", "jobId", "cycleId", "changeId", "provisioningAction"),
                *("provisioningStatusInfo/status", "initiatedBy/displayName"),
                *("sourceSystem/displayName", "targetSystem/displayName"),
                *(f"{side}Identity/{each}" for side in ("source", "target") for each in
                  ("id", "displayName", "identityType")),
                *("servicePrincipal/id", "servicePrincipal/displayName"),
            ),
            text("eq contains"),
        ),
    },
    newest_first=False,
)  # fmt: skip
"""Filters: "List provisioningObjectSummary", and what Graph's metadata says of the type's properties.

An example in "Configure provisioning using Microsoft Graph APIs" asks for `contains` on servicePrincipal, and
for a day with `gt` and `lt`. The documentation promises no order.
"""

RISK_DETECTIONS = Log(
    name="riskDetections",
    path="identityProtection/riskDetections",
    type_name="microsoft.graph.riskDetection",
    time="detectedDateTime",
    empty=risk_detections.EMPTY,
    new_id=risk_detections.new_id,
    filters={
        # Reported to be inclusive (microsoft-graph-docs issue 13750).
        **dict.fromkeys(
            ("activityDateTime", "detectedDateTime", "lastUpdatedDateTime"),
            instant("eq ge le gt lt", gt=lambda one, two: one >= two, lt=lambda one, two: one <= two),
        ),
        **dict.fromkeys(
            (
                *("id", "requestId", "correlationId", "userId", "userDisplayName", "userPrincipalName"),
                *("riskEventType", "riskLevel", "riskState", "riskDetail", "detectionTimingType", "source"),
                *("activity", "ipAddress"),
            ),
            text("eq"),
        ),
    },
    versions=("v1.0",),
    options=("$filter", "$top"),
    page=20,
    largest_page=500,
    family="identity_protection",
    floor="none",
    newest_first=False,
)
"""Pages: "List riskDetections", which takes `$filter` (and `$select`, which this stand-in does not) without a
word of properties or operators. Texts with `eq` are in its examples; that instants can be compared is only
known from what public programs ask."""

LOGS = {each.name: each for each in (DIRECTORY_AUDITS, SIGN_INS, PROVISIONING, RISK_DETECTIONS)}
"""Every log by its name."""
