"""The part of OData's `$filter` that Azure AD Graph's reports take, and nothing beyond it. Pure.

Sources: the audit and the sign-in activity report API references. Where these write a user's name with a cast
to a long type name, the name without it is refused.
"""

import operator
import re
from collections.abc import Callable

from local.cloud.activities import Activity
from local.cloud.graph_filter import (
    Compare,
    Grammar,
    InvalidFilterError,
    Property,
    instant,
    number,
    parse_filter,
    text,
)

_CAST = re.compile(
    r"Microsoft\.ActiveDirectory\.DataService\.PublicApi\.Model\.Reporting\.AuditLog\."
    r"(?:ActorUserEntity|TargetResourceUserEntity)/userPrincipalName"
)
_CAST_NAME = "castUserPrincipalName"
_FIVE = "eq ge le gt lt"


def _folded(compare: Compare) -> Compare:
    return lambda value, wanted: compare(value.lower(), wanted.lower())


_FOLDED: dict[str, Compare] = {
    "eq": _folded(operator.eq),
    "contains": _folded(operator.contains),
    "startswith": _folded(str.startswith),
}
_NAME = Property("text", _FOLDED)
_USER = Property("text", {each: _FOLDED[each] for each in ("eq", "startswith")})

_GRAMMARS: dict[str, Grammar] = {
    "audit": {
        "activityDate": instant(_FIVE),
        "category": text("eq"),
        "activityStatus": number("eq"),
        "activityType": text("eq"),
        "activity": text("eq contains startswith"),
        "actor/name": _NAME,
        "actor/objectId": text("eq"),
        f"actor/{_CAST_NAME}": _USER,
        "targets/any/name": _NAME,
        "targets/any/objectId": text("eq"),
        f"targets/any/{_CAST_NAME}": _USER,
    },
    "signinEvents": {
        "signinDateTime": instant(_FIVE),
        "userId": text("eq"),
        "userPrincipalName": text("eq"),
        "appId": text("eq"),
        "appDisplayName": text("eq"),
        "loginStatus": text("eq"),
    },
}


def parse(report: str, words: str) -> Callable[[Activity], bool]:
    """A test for the records of a report.

    Raises InvalidFilterError for a property or an operator that the report does not take, and bad syntax.
    """
    if _CAST_NAME in words:
        raise InvalidFilterError(words)
    grammar = _GRAMMARS[report]
    members = {path.partition("/")[0] for path in grammar}
    matches = parse_filter(_CAST.sub(_CAST_NAME, words), grammar, members).matches
    return lambda record: matches(_seen(record))


def _seen(record: Activity) -> Activity:
    """A record as filters see it: two statuses are numbers there, and users' names are cast."""
    if "loginStatus" in record:
        return record | {"loginStatus": "0" if record["loginStatus"] == "Success" else "1"}
    return record | {
        "activityStatus": 0 if record["activityResultStatus"] == "Success" else -1,
        "actor": _cast(record["actor"] or {}),
        "targets": [_cast(each) for each in record["targets"]],
    }


def _cast(entity: Activity) -> Activity:
    return entity | {_CAST_NAME: entity.get("userPrincipalName")}
