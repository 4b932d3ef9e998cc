"""The app's HTTP interface as an OpenAPI 3.1 document. Pure.

Bodies are described by the types that read and write them, and a test holds the paths to the app's routes.
"""

from typing import Any, get_args

import msgspec

from shared import VERSION, parameters
from shared.auditor import BackfillBody, VerifyBody
from shared.openapi_paths import Schema, array_of, object_of, paths, responses, to
from shared.query import Result
from shared.query_formats import available
from shared.query_jobs import Status
from shared.query_settings import QuerySettings
from shared.query_status import QueryStatus
from shared.question import MAX_TOP, Body, SavedBody

_TYPES = (Body, SavedBody, Result, QueryStatus, VerifyBody, BackfillBody)

_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer", "minimum": 0}
_YES: Schema = {"type": "boolean"}
_INSTANT: Schema = {"type": "string", "format": "date-time"}
_SPAN: Schema = {"start": _INSTANT, "end": _INSTANT}
_WHY: Schema = {**_SPAN, "reason": _TEXT}
_INT32 = {"type": "integer", "minimum": -(1 << 31), "maximum": (1 << 31) - 1}
_INT64 = {"type": "integer", "minimum": -(1 << 63), "maximum": (1 << 63) - 1}
# Integers as text, for callers whose numbers have fewer digits: nearly all that are within bounds, no other.
_INT32_TEXT = {"type": "string", "pattern": "^[+-]?([0-9]{1,9}|1[0-9]{9}|2147483647)$"}
_INT64_TEXT = {"type": "string", "pattern": "^[+-]?([0-9]{1,18}|[0-8][0-9]{18}|9223372036854775807)$"}
_DOUBLE = {"type": "number", "minimum": -(1 << 63), "maximum": (1 << 63) - 1}


def document(settings: QuerySettings) -> Schema:
    """Return the document of an app whose on-demand queries have these settings."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Azure log exports",
            "version": VERSION,
            "description": "Asks Log Analytics on demand; shows and proves what exports have stored. "
            "A method that a path has not is answered with 405, a Problem; `Allow` names those that it has.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {"code": []}],
        "paths": paths(queries=settings.enabled),
        "components": {
            "schemas": _of_types(settings) | _of_exports() | _of_queries(),
            "responses": responses(),
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
                "code": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "code",
                    "description": "the same key; a header does not end up in logs",
                },
            },
        },
    }


def _of_types(settings: QuerySettings) -> Schema:
    """Return the schemas of the types, with what their annotations do not say."""
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    forms = available()
    more: dict[str, Schema] = {
        "Result": {
            "status": {"enum": ["complete", "partial"]},
            "returned": _WHOLE,
            "total": {"minimum": 0, "description": "rows of the query; null where that is not known"},
            "columns": array_of(to("Column")),
            "rows": to("Rows"),
            "request_id": {"description": "the service's own, for its support"},
            "result_url": {"description": "where the whole result is, if not all of it is here"},
            "error": {"description": "what the service says of a partial answer: code and message"},
        },
        "QueryStatus": {
            "status": {"enum": list(get_args(Status))},
            **{name: {"format": "date-time"} for name in ("asked_at", "started_at", "finished_at")},
            "expires_at": {"format": "date-time", "description": "when query and result are forgotten"},
            "statistics": {"description": "so far, while the query runs"},
            "error": {"anyOf": [to("Problem"), {"type": "null"}]},
            "result": {"anyOf": [to("StoredResult"), {"type": "null"}]},
        },
        **{
            name: {
                "start": {**_INSTANT, "description": "an instant on a whole second"},
                "end": {**_INSTANT, "description": "an instant on a whole second, after start"},
            }
            for name in ("VerifyBody", "BackfillBody")
        },
        **{
            name: {
                "start": {"format": "date-time"},
                "end": {"format": "date-time"},
                "top": {"minimum": 1, "maximum": min(MAX_TOP, settings.rows)},
                "format": {"enum": [*forms, *dict.fromkeys(forms.values()), None]},
                "parameters": {
                    "maxProperties": parameters.MOST,
                    "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$"},
                    "additionalProperties": to("Parameter"),
                },
            }
            for name in ("Body", "SavedBody")
        },
    }
    for name, fields in more.items():
        for field, said in fields.items():
            property_ = schemas[name]["properties"][field]
            if {"$ref", "anyOf", "items"} & said.keys():
                property_.clear()
            property_ |= said
    for name in ("Body", "SavedBody"):
        null = {"type": "null"}
        schemas[name]["anyOf"] = [
            {"properties": {"start": null, "end": null}},
            {"properties": {"timespan": null, "start": _TEXT, "end": _TEXT}, "required": ["start", "end"]},
        ]
    return schemas


def _of_exports() -> Schema:
    """Return the schemas of what is told of exports."""
    spans = array_of(object_of(**_SPAN))
    lost = array_of(object_of(**_WHY))
    return {
        "Health": object_of(status={"enum": ["ok", "degraded"]}, version=_TEXT, exports=_WHOLE),
        "Coverage": object_of(
            export=_TEXT,
            origin={**_INSTANT, "description": "where the export begins"},
            due_until={**_INSTANT, "description": "up to where it should be stored by now"},
            covered=spans,
            gaps=spans,
            unavailable=lost,
            in_flight=lost,
            failures=array_of(object_of(**_WHY, times=_WHOLE, next_try=_INSTANT)),
            denied={"type": ["string", "null"], "description": "why the service gives nothing at all"},
            backfills=array_of(object_of(id=_TEXT, **_SPAN, force=_YES)),
        ),
        "Verification": object_of(
            export=_TEXT,
            **_SPAN,
            windows=_WHOLE,
            rows=_WHOLE,
            complete={**_WHOLE, "description": "windows that hold what their source holds"},
            not_compared=_WHOLE,
            missing=spans,
            differing=array_of(object_of(**_SPAN, stored=_WHOLE, source=_WHOLE)),
            damaged=array_of(object_of(**_SPAN, why=_TEXT)),
            unavailable=lost,
            deep=_YES,
            repair={**_YES, "description": "whether anything was asked for again"},
        ),
        "Backfill": object_of(id=_TEXT, **_SPAN, force=_YES),
        "EndedBackfills": object_of(ended=array_of(_TEXT)),
        "Problem": {
            "type": "object",
            "description": "Problem details (RFC 9457).",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": {**_TEXT, "format": "uri-reference"},
                "title": _TEXT,
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": {**_TEXT, "description": "what happened, where, and what to do next"},
                "field": {**_TEXT, "description": "the first field that is wrong"},
                "errors": {
                    **array_of(object_of(field=_TEXT, message=_TEXT)),
                    "description": "every field that is wrong, and why",
                },
                "code": {**_TEXT, "description": "the service's error code"},
                "service_status": {"type": "integer", "description": "the service's HTTP status"},
                "request_id": {"type": ["string", "null"], "description": "the service's own"},
            },
        },
    }


def _of_queries() -> Schema:
    """Return the schemas of what is asked and answered beside the types'."""
    return {
        "Column": object_of(name=_TEXT, type=_TEXT),
        "Rows": {
            "type": "array",
            "description": "Arrays of cells in the order of the columns, each as the service sent it.",
            "items": {"type": "array", "items": {}},
        },
        "Document": object_of(columns=array_of(to("Column")), rows=to("Rows")),
        "StoredResult": object_of(
            url={**_TEXT, "format": "uri-reference"},
            format=_TEXT,
            rows=_WHOLE,
            total={"type": ["integer", "null"], "description": "rows of the query without top"},
            bytes={**_WHOLE, "description": "of the stored file"},
            sha256={**_TEXT, "pattern": "^[0-9a-f]{64}$", "description": "of the stored file"},
            columns=array_of(to("Column")),
        ),
        "SavedQueries": object_of(
            queries=array_of(
                object_of(
                    name=_TEXT,
                    description=_TEXT,
                    parameters=array_of(
                        object_of(
                            name=_TEXT,
                            type={"enum": list(parameters.TYPES)},
                            default={"type": ["string", "null"], "description": "in KQL; null: required"},
                        )
                    ),
                )
            ),
            problems={**array_of(_TEXT), "description": "what is wrong with files that are no saved query"},
        ),
        "Parameter": {
            "description": "A value, whose type is string, bool, long, real or dynamic; or type and value.",
            "anyOf": [
                {"type": ["string", "boolean"]},
                _DOUBLE,
                array_of(to("Dynamic")),
                *(
                    {**object_of(type={"const": type_}, value=value), "additionalProperties": False}
                    for type_, value in _values().items()
                ),
            ],
        },
        "Dynamic": {
            "anyOf": [
                {"type": ["string", "boolean", "null"]},
                _DOUBLE,
                array_of(to("Dynamic")),
                {"type": "object", "additionalProperties": to("Dynamic")},
            ],
        },
    }


def _values() -> dict[str, Any]:
    """Return the schema of a value of each of Kusto's types."""
    null = {"type": "null"}
    return {
        "string": _TEXT,
        "bool": {"type": ["boolean", "null"]},
        "int": {"anyOf": [_INT32, _INT32_TEXT, null]},
        "long": {"anyOf": [_INT64, _INT64_TEXT, null]},
        "real": {
            "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[+-]?[0-9]+(\.[0-9]+)?$"}, null]
        },
        "decimal": {
            "description": "34 digits at most",
            "anyOf": [
                {"type": "integer"},
                {"type": "string", "pattern": r"^[+-]?[0-9]{1,17}(\.[0-9]{1,17})?$"},
                null,
            ],
        },
        "datetime": {"anyOf": [_INSTANT, {"type": "string", "format": "date"}, null]},
        "timespan": {
            "anyOf": [
                {
                    "type": "string",
                    "pattern": r"^-?([0-9]{1,7}\.)?([01][0-9]|2[0-3]):[0-5][0-9]"
                    r"(:[0-5][0-9](\.[0-9]{1,7})?)?$|^-?[0-9]{1,7} ?(d|h|m|s|ms)$",
                    "examples": ["1.02:03:04.5678901", "5m"],
                },
                null,
            ]
        },
        "guid": {"anyOf": [{"type": "string", "format": "uuid"}, null]},
        "dynamic": to("Dynamic"),
    }
