"""What Schemathesis has to know of this app beside its OpenAPI document.

A schema cannot say which text is KQL, which workspaces an app has, or that one instant lies after another. So
that the requests which are meant to be accepted can be, they get such values here; those which are meant to
be refused go out as they were made up.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import UseAfterFree

_QUESTIONS = (
    "Event | take 3",
    "Event | summarize count() by EventLevelName",
    "print answer = 42",
    "Event | where false",
)
_TIMESPANS = ("PT1H", "P1D", "P1DT2H3M4.5S", "2026-01-01/2026-01-02T03:04:05.1234567Z", "2026-01-01/PT6H")

_TODAY = datetime.combine(datetime.now(UTC), time())
_SPAN = tuple(f"{_TODAY - timedelta(days=days):%Y-%m-%dT%H:%M:%S}Z" for days in (60, 30))

schemathesis.openapi.format(
    "date-time",
    st.builds(
        "{:%Y-%m-%dT%H:%M:%S}{}{}".format,
        st.datetimes(_TODAY - timedelta(days=60), _TODAY - timedelta(days=30)),
        st.sampled_from(["", ".5", ".1234567"]),
        st.sampled_from(["Z", "+00:00", "-07:30"]),
    ),
)


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext,  # noqa: ARG001
    case: schemathesis.Case[Any],
    kwargs: dict[str, Any],  # noqa: ARG001
) -> None:
    """Give a request that is to be accepted the values that a schema cannot describe."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.query:
        case.query = _in_order(case.query)
    if isinstance(case.body, dict):
        case.body = _in_order(_sensible(_with_integers(case.body)))
        if case.operation.definition.raw.get("operationId") == "savedQuery" and case.body.get("parameters"):
            case.body["parameters"] = {"level": "Error"}


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext,  # noqa: ARG001
    failure: Failure,
    case: schemathesis.Case[Any],  # noqa: ARG001
    response: schemathesis.Response,
) -> bool:
    """Let one thing pass: DELETE cancels a query that is not finished, which is still there to say so."""
    return not (isinstance(failure, UseAfterFree) and b'"status":"cancelled"' in response.content)


def _sensible(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body whose texts mean something."""
    for name, values in (("query", _QUESTIONS), ("timespan", _TIMESPANS), ("workspace", ("default",))):
        if isinstance(body.get(name), str):
            body = {**body, name: values[len(body[name]) % len(values)]}
    return body


def _in_order(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields whose `start` and `end`, if they have either, are a span of whole seconds lately."""
    times = [fields.get(name) for name in ("start", "end")]
    if times == [None, None]:
        return fields
    start, end = sorted(str(time or _SPAN[0])[:19] + "Z" for time in times)
    if not _SPAN[0] <= start < end <= _SPAN[1]:
        start, end = _SPAN
    return {**fields, "start": start, "end": end}


def _with_integers(value: Any) -> Any:
    """Return a value without 5.0 and the like, which is an integer to JSON Schema and none to the app."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {key: _with_integers(each) for key, each in value.items()}
        case list():
            return [_with_integers(each) for each in value]
    return value
