"""The OpenAPI document is valid, and says of paths, bodies and answers what the app does."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import azure.functions as func
import jsonschema
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from shared.auditor import BackfillBody, VerifyBody, read_range
from shared.errors import BadRequestError, ExportError, MethodError, RefusedError, ServiceError
from shared.formats.parquet import Parquet
from shared.openapi import document
from shared.problems import problem
from shared.query import Result
from shared.query_settings import QuerySettings
from shared.query_statistics import Statistics
from shared.question import read_question
from shared.windows import parse_instant

ROOT = Path(__file__).resolve().parents[2]
WHOLE = document(QuerySettings())
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
NOW = parse_instant("2026-11-22T00:00:00Z")
QUERIES = QuerySettings(workspaces={"default": "12345678-1234-1234-1234-123456789abc"})
HEADERS = {"content-type": "application/json"}


def schema(name: str) -> jsonschema.Draft202012Validator:
    """Return what holds values to one of the document's schemas."""
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": WHOLE["components"]}
    )


def operations(whole: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the document's operations by path, names of parameters left out, and method."""
    return {
        (re.sub(r"\{\w+\}", "{}", path), method): operation
        for path, item in whole["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def routes(monkeypatch: pytest.MonkeyPatch, *, queries: bool) -> dict[tuple[str, str], str]:
    """Return the app's routes, in the same form, and who may call each.

    A route takes every method: its function says which it serves, if asked with another.
    """
    monkeypatch.setenv("AzureWebJobsStorage", "UseDevelopmentStorage=true")
    monkeypatch.setenv("QUERY_ENABLED", str(queries).lower())
    spec = importlib.util.spec_from_file_location("function_app_with_routes", ROOT / "function_app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    prefix = json.loads((ROOT / "host.json").read_text("utf-8"))["extensions"]["http"]["routePrefix"]
    found: dict[tuple[str, str], str] = {}
    for function in module.app.get_functions():
        bindings = [json.loads(binding) for binding in function.get_raw_bindings()]
        for trigger in [each for each in bindings if each["type"] == "httpTrigger"]:
            path = re.sub(r"\{\w+\}", "{}", f"/{prefix}/{trigger['route']}")
            outputs = {each["name"]: None for each in bindings if each["type"] == "queue"}
            refused = function.get_user_function()(func.HttpRequest("TRACE", path, body=b""), **outputs)
            assert path not in {other for other, _ in found}, "of two functions, one would get no request"
            for method in refused.headers["Allow"].lower().split(", "):
                found[path, method] = trigger["authLevel"]
    return found


@pytest.mark.parametrize("queries", [True, False])
def test_the_document_is_valid(*, queries: bool) -> None:
    """It is OpenAPI 3.1, as a client reads it."""
    read = msgspec.json.decode(msgspec.json.encode(document(QuerySettings(enabled=queries))))
    assert [str(error) for error in OpenAPIV31SpecValidator(read).iter_errors()] == []


@pytest.mark.parametrize("queries", [True, False])
def test_the_document_has_the_apps_routes(monkeypatch: pytest.MonkeyPatch, *, queries: bool) -> None:
    """Every method of every route is described, and nothing else; without queries none of theirs."""
    described = operations(document(QuerySettings(enabled=queries)))
    assert described.keys() == routes(monkeypatch, queries=queries).keys()
    assert any("quer" in path for path, _ in described) == queries


def test_the_document_says_who_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What anybody may call has no security; all else has the app's, and tells of 401."""
    described = operations(WHOLE)
    for route, level in routes(monkeypatch, queries=True).items():
        assert (described[route].get("security") == []) == (level == "ANONYMOUS")
        assert ("401" in described[route]["responses"]) == (level == "FUNCTION")


def test_the_document_has_the_apps_own_caps_and_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment that allows fewer rows, or lacks what writes Parquet, promises no more than it keeps."""
    monkeypatch.setattr(Parquet, "missing", property(lambda _: "pyarrow"))
    few = document(QuerySettings(rows=100))
    body, whole = (each["components"]["schemas"]["Body"]["properties"] for each in (few, WHOLE))
    assert (body["top"]["maximum"], whole["top"]["maximum"]) == (100, 450_000)
    assert "parquet" in whole["format"]["enum"]
    assert not any("parquet" in form for form in body["format"]["enum"] if form)
    assert "parquet" not in json.dumps(operations(few)[("/api/query", "post")]["responses"])


def test_every_operation_has_a_name_of_its_own() -> None:
    """Generated clients have a method for each; links lead to operations that there are."""
    names = [operation["operationId"] for operation in operations(WHOLE).values()]
    assert len(set(names)) == len(names)
    links = [
        link["operationId"]
        for operation in operations(WHOLE).values()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert set(links) == {"queryStatus", "queryResult", "cancelQuery"}


@pytest.mark.parametrize("name", sorted(WHOLE["components"]["schemas"]))
def test_every_schema_is_a_schema(name: str) -> None:
    """Each is in the dialect of OpenAPI 3.1, and all that it refers to is there."""
    jsonschema.Draft202012Validator.check_schema(WHOLE["components"]["schemas"][name])
    list(schema(name).iter_errors({}))  # raises for a reference to nothing


@pytest.mark.parametrize(
    ("path", "type_"),
    [("/api/exports/{}/verify", VerifyBody), ("/api/exports/{}/backfill", BackfillBody)],
)
def test_the_examples_of_ranges_are_understood(path: str, type_: type[VerifyBody | BackfillBody]) -> None:
    """Who copies an example has a right body."""
    content = operations(WHOLE)[path, "post"]["requestBody"]["content"]["application/json"]
    schema(type_.__name__).validate(content["example"])
    assert read_range(json.dumps(content["example"]).encode(), type_)


def test_the_example_of_a_question_is_understood() -> None:
    """Who copies it asks for something, with a parameter."""
    content = operations(WHOLE)["/api/query", "post"]["requestBody"]["content"]["application/json"]
    schema("Body").validate(content["example"])
    question = read_question(json.dumps(content["example"]).encode(), HEADERS, QUERIES, NOW)
    assert question.text.startswith("let level = ")


@pytest.mark.parametrize(
    ("field", "value", "right"),
    [
        ("query", "", False),
        ("top", 1, True),
        ("top", 0, False),
        ("top", 450_000, True),
        ("top", 500_001, False),
        ("wait", 0, True),
        ("wait", -1, False),
        ("wait", 200, True),
        ("wait", 201, False),
        ("timespan", "P7D", True),
        ("timespan", "2026-11-01/2026-11-02", True),
        ("timespan", "yesterday", False),
        ("start", "2026-11-01T00:00:00Z", False),  # without an end
        ("format", "csv", True),
        ("format", "text/csv", True),
        ("format", None, True),
        ("format", "xml", False),
        ("destination", "blob", True),
        ("destination", "tape", False),
        ("destination", None, False),
        ("parameters", {"a": "text", "b": 1, "c": 1.5, "d": True, "e": [1, {"f": None}]}, True),
        ("parameters", {"a": {"type": "timespan", "value": "1.02:03:04.5"}}, True),
        ("parameters", {"a": {"type": "timespan", "value": "25:00:00"}}, False),
        ("parameters", {"a": {"type": "long", "value": 1 << 63}}, False),
        ("parameters", {"a": {"type": "long", "value": "9223372036854775807"}}, True),
        ("parameters", {"a": {"type": "long", "value": "-8999999999999999999"}}, True),
        ("parameters", {"a": {"type": "long", "value": str(1 << 63)}}, False),
        ("parameters", {"a": {"type": "int", "value": "-2147483647"}}, True),
        ("parameters", {"a": {"type": "int", "value": str(1 << 31)}}, False),
        ("parameters", {"a": {"type": "number", "value": 1}}, False),
        ("parameters", {"a": {"value": 1}}, False),
        ("parameters", {"a": None}, False),
        ("parameters", {"1a": 1}, False),
        ("parameters", {f"a{number}": 1 for number in range(101)}, False),
        ("colour", "red", False),
    ],
)
def test_a_question_is_described_as_it_is_read(field: str, value: object, *, right: bool) -> None:
    """The schema takes a body where the app does, and refuses it where the app does, naming the field."""
    body = {"query": "Event", field: value}
    assert schema("Body").is_valid(body) == right
    if right:
        read_question(json.dumps(body).encode(), HEADERS, QUERIES, NOW)
        return
    with pytest.raises(BadRequestError) as caught:
        read_question(json.dumps(body).encode(), HEADERS, QUERIES, NOW)
    assert caught.value.field.partition(".")[0] == ("end" if field == "start" else field)


@pytest.mark.parametrize(
    "error",
    [
        BadRequestError("query", "is empty", ("top", "is 0")),
        MethodError(["GET"]),
        RefusedError(429, "too many", retry_after=5),
        ServiceError("S", status=400, code="A/B", message="no", request_id=None, retryable=False),
        ExportError("no"),
    ],
)
def test_problems_are_described(error: ExportError) -> None:
    """A problem document, with all that it may tell, is of its schema."""
    found, _ = problem(error)
    schema("Problem").validate(found)
    assert found.keys() <= WHOLE["components"]["schemas"]["Problem"]["properties"].keys()


def test_an_answer_is_described() -> None:
    """Rows, which are sent as they came, are arrays; a row that is none would be found."""
    result = Result(
        query_id="0" * 32,
        status="partial",
        returned=1,
        total=None,
        truncated=True,
        columns=[{"name": "n", "type": "long"}],
        rows=[msgspec.Raw(b"[1]")],
        statistics=Statistics(),
        error={"code": "E", "message": "cut"},
    )
    schema("Result").validate(json.loads(msgspec.json.encode(result)))
    broken = msgspec.structs.replace(result, rows=[msgspec.Raw(b"1")])
    assert not schema("Result").is_valid(json.loads(msgspec.json.encode(broken)))
