"""How the tests of search jobs ask Resource Manager's Tables API."""

from typing import Any

import requests

from tests.cloud.caller import Caller

ARM = "https://management.azure.com"
VERSION = "api-version=2022-10-01"
DAY = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z")


def call(
    caller: Caller, method: str, name: str = "", version: str = VERSION, **words: Any
) -> requests.Response:
    """Ask the Tables API of the first workspace; `name` has the table and what follows it."""
    path = f"{caller.cloud.workspace_resource_ids[0]}/tables{'/' if name else ''}{name}?{version}"
    return caller.call(method, path, ARM, **words)


def put(caller: Caller, name: str, query: str, **words: Any) -> requests.Response:
    """Ask for a search job over DAY, or over the `startSearchTime` and `endSearchTime` of `words`."""
    search = {"query": query, "startSearchTime": DAY[0], "endSearchTime": DAY[1]} | words
    return call(caller, "PUT", name, json={"properties": {"searchResults": search}})


def finished(caller: Caller, name: str) -> dict[str, Any]:
    """The document of a table whose job is at its end."""
    for _ in range(10):
        document: dict[str, Any] = call(caller, "GET", name).json()
        if document["properties"]["provisioningState"] == "Succeeded":
            return document
    raise AssertionError(document)


def records(caller: Caller, query: str) -> list[dict[str, Any]]:
    """The rows of a query that succeeds, by column."""
    answer = caller.query(query)
    assert answer.status_code == 200, answer.text
    table = answer.json()["tables"][0]
    names = [each["name"] for each in table["columns"]]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]
