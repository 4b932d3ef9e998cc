"""The paths of the OpenAPI document: each endpoint's requests, and each answer that it may give. Pure."""

from typing import Any

from shared.query_formats import available

Schema = dict[str, Any]

_JSON = "application/json"
_OPEN: Schema = {"security": []}

_TEXT: Schema = {"type": "string"}
_DAYS = {"start": "2026-11-01T00:00:00Z", "end": "2026-11-21T00:00:00Z"}
_LOCATION = {"Location": {"required": True, "schema": {"type": "string", "format": "uri-reference"}}}
_RETRY = {
    "Retry-After": {
        "required": True,
        "description": "seconds",
        "schema": {"type": "integer", "minimum": 0},
    }
}

_PROBLEMS: dict[int, tuple[str, str]] = {
    400: ("BadRequest", "Something is wrong with the request, or with its KQL; `errors` names each field."),
    403: ("Forbidden", "Only saved queries may be asked here."),
    404: ("NotFound", "There is no such thing, or it is somebody else's."),
    406: ("NotAcceptable", "Answers have none of the media types that `Accept` names."),
    409: ("Conflict", "The query has no result yet."),
    410: ("Gone", "The query failed or was cancelled, and has no result."),
    413: ("ContentTooLarge", "The request's body is too large."),
    415: ("UnsupportedMediaType", "The request's body is not said to be JSON."),
    422: ("Unprocessable", "The answer is larger than allowed, or a part, which its form cannot tell."),
    429: ("TooManyRequests", "Too many queries are being answered or wait, here or at the service."),
    502: ("BadGateway", "A service failed, or refused this app."),
    503: ("Unavailable", "A service is still preparing the answer."),
    504: ("GatewayTimeout", "A service took too long."),
}
_WITH_RETRY = {409, 429, 503}


def to(name: str, kind: str = "schemas") -> Schema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def array_of(items: Schema) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": items}


def object_of(**properties: Schema) -> Schema:
    """Return the schema of an object that has all of some properties, and perhaps others one day."""
    return {"type": "object", "required": list(properties), "properties": properties}


def responses() -> Schema:
    """Return the components that are answers."""
    problems = {
        name: {
            "description": said,
            **({"headers": _RETRY} if status in _WITH_RETRY else {}),
            "content": {"application/problem+json": {"schema": to("Problem")}},
        }
        for status, (name, said) in _PROBLEMS.items()
    }
    return {**problems, "Unauthorized": {"description": "The key is missing, or not one of the app's."}}


def paths(*, queries: bool) -> Schema:
    """Return the paths, those of on-demand queries only where they are enabled."""
    return {
        "/api/health": {
            "get": {
                "operationId": "health",
                "summary": "Whether the app runs, and whether all of its configuration is right",
                **_OPEN,
                "responses": {"200": _json("The app runs.", to("Health"))},
            }
        },
        "/api/openapi.json": {
            "get": {
                "operationId": "openapi",
                "summary": "This document",
                **_OPEN,
                "responses": {"200": _json("An OpenAPI 3.1 document.", {"type": "object"})},
            }
        },
        **_exports(),
        **(_queries() if queries else {}),
    }


def _exports() -> Schema:
    name = {
        "name": "name",
        "in": "path",
        "required": True,
        "description": "an export's name",
        "schema": _TEXT,
        "example": "events",
    }
    span = [
        {
            "name": end,
            "in": "query",
            "description": "show covered and lost time and gaps between start and end only",
            "allowEmptyValue": True,
            "schema": {"type": "string", "format": "date-time"},
        }
        for end in ("start", "end")
    ]
    return {
        "/api/exports/{name}/coverage": {
            "parameters": [name],
            "get": {
                "operationId": "coverage",
                "summary": "What an export has stored, and what is missing, lost, failing or on its way",
                "parameters": span,
                "responses": _answers({"200": _json("Its coverage.", to("Coverage"))}, 400, 404, 502),
            },
        },
        "/api/exports/{name}/verify": {
            "parameters": [name],
            "post": {
                "operationId": "verify",
                "summary": "Compare what is stored with its source, and perhaps ask for what is wrong again",
                "requestBody": _body("VerifyBody", {**_DAYS, "deep": True}),
                "responses": _answers(
                    {"200": _json("What was compared, and what is wrong.", to("Verification"))},
                    400, 404, 429, 502, 503, 504,
                ),
            },
        },
        "/api/exports/{name}/backfill": {
            "parameters": [name],
            "post": {
                "operationId": "backfill",
                "summary": "Have a range of time stored, or stored again",
                "requestBody": _body("BackfillBody", _DAYS),
                "responses": _answers(
                    {"202": _json("The export will work on it; its coverage tells how far it is.",
                                  to("Backfill"), _LOCATION)},
                    400, 404, 502,
                ),
            },
            "delete": {
                "operationId": "endBackfills",
                "summary": "End an export's backfills; what is stored stays",
                "responses": _answers({"200": _json("The ended ones.", to("EndedBackfills"))}, 404, 502),
            },
        },
    }  # fmt: skip


def _queries() -> Schema:
    asked = {
        "query": "Event | where EventLevelName == level | summarize count() by Computer",
        "timespan": "P1D",
        "parameters": {"level": "Error"},
    }
    query_id = {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "a query's id",
        "schema": {**_TEXT, "pattern": "^[0-9a-f]{32}$"},
    }
    saved = {
        **query_id,
        "description": "a saved query's name",
        "schema": {**_TEXT, "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"},
        "example": "events-by-computer",
    }
    return {
        "/api/query": {
            "post": {
                "operationId": "query",
                "summary": "Ask a workspace in KQL",
                **_asking(_body("Body", asked), 403),
            }
        },
        "/api/query/{id}": {
            "post": {
                "operationId": "savedQuery",
                "summary": "Ask a saved query",
                **_asking({**_body("SavedBody", {"timespan": "P7D"}), "required": False}, 404, saved),
            },
            "get": {
                "operationId": "queryStatus",
                "summary": "How far a query is that was answered with 202, or whose result is stored",
                "parameters": [query_id],
                "responses": _answers(
                    {
                        "200": _json(
                            "Its status; until it is finished, `Retry-After` says when to ask again.",
                            to("QueryStatus"),
                            {"Retry-After": {**_RETRY["Retry-After"], "required": False}},
                        )
                    },
                    404, 502,
                ),
            },
            "delete": {
                "operationId": "cancelQuery",
                "summary": "Cancel a query that is not finished; forget one that is, with its result",
                "parameters": [query_id],
                "responses": _answers({"204": {"description": "It was cancelled, or forgotten."}}, 404, 502),
            },
        },
        "/api/query/{id}/result": {
            "get": {
                "operationId": "queryResult",
                "summary": "A query's whole result, in the form that was asked for",
                "parameters": [query_id, _ENCODING],
                "responses": _answers(
                    {
                        "200": {
                            "description": "The result; its columns and types are in the query's status.",
                            "headers": _ENCODED,
                            "content": _content(to("Document")),
                        },
                        "302": {
                            "description": "A large result is in storage: a link of a quarter of an hour.",
                            "headers": _LOCATION,
                        },
                    },
                    404, 409, 410, 502,
                ),
            }
        },
        "/api/queries": {
            "get": {
                "operationId": "savedQueries",
                "summary": "The saved queries, with their parameters",
                "responses": _answers({"200": _json("They are listed.", to("SavedQueries"))}),
            }
        },
    }  # fmt: skip
_OF_A_FILE = {
    name: {"description": f"where it is not JSON: {what}", "schema": _TEXT}
    for name, what in (
        ("X-Query-Id", "the query's id"),
        ("X-Query-Returned", "how many rows there are"),
        ("X-Query-Total", "how many rows the query has without `top`, or unknown"),
        ("X-Query-Statistics", "what it cost, as JSON"),
        ("X-Query-Request-Id", "what the service calls the request, where it says"),
    )
}


_ENCODING: Schema = {
    "name": "Accept-Encoding",
    "in": "header",
    "description": "gzip, to be answered in gzip",
    "schema": _TEXT,
    "example": "gzip",
}
_PREFER: Schema = {
    "name": "Prefer",
    "in": "header",
    "description": "RFC 7240; to wait so many seconds for the answer, or not at all",
    "schema": _TEXT,
    "examples": {"wait": {"value": "wait=60"}, "later": {"value": "respond-async"}},
}
_ENCODED = {"Content-Encoding": {"schema": {"enum": ["gzip"]}}, "Vary": {"schema": _TEXT}}


def _asking(body: Schema, refusal: int, *parameters: Schema) -> Schema:
    """Return what the two ways to ask have in common."""
    after = {
        name: {"operationId": name, "parameters": {"id": "$response.body#/query_id"}}
        for name in ("queryStatus", "queryResult", "cancelQuery")
    }
    found = {
        "200": {
            "description": "The rows, in the form that `format` or `Accept` names. Only JSON can be partial, "
            "or have the first rows only (`truncated`) and the place of all (`result_url`).",
            "headers": {**_ENCODED, **_OF_A_FILE},
            "content": _content(to("Result")),
        },
        "202": {
            **_json("It takes longer than the wait; ask again.", to("QueryStatus"), {**_LOCATION, **_RETRY}),
            "links": after,
        },
        "303": {"description": "The whole is too large to be sent inline; see there.", "headers": _LOCATION},
    }
    return {
        "description": "Times are of `TimeGenerated`. Values go into `parameters`, never into the KQL.",
        "parameters": [*parameters, _PREFER, _ENCODING],
        "requestBody": body,
        "responses": _answers(found, 400, refusal, 406, 413, 415, 422, 429, 502, 504),
    }


def _content(json: Schema) -> Schema:
    """Return an answer's media types; those that are no JSON have no schema in JSON's terms."""
    schemas = {"json": {"schema": json}, "parquet": {}}
    return {media_type: schemas.get(name, {"schema": _TEXT}) for name, media_type in available().items()}


def _json(description: str, schema: Schema, headers: Schema | None = None) -> Schema:
    more = {"headers": headers} if headers else {}
    return {"description": description, **more, "content": {_JSON: {"schema": schema}}}


def _body(schema: str, example: Schema) -> Schema:
    return {"required": True, "content": {_JSON: {"schema": to(schema), "example": example}}}


def _answers(found: Schema, *problems: int) -> Schema:
    """Return an operation's answers: its own, the host's, and problems."""
    refused = {"401": to("Unauthorized", "responses")}
    refused |= {str(status): to(_PROBLEMS[status][0], "responses") for status in problems}
    return {**found, **dict(sorted(refused.items()))}
