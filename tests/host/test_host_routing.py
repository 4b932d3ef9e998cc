"""Which route answers a path."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.functions_host.routing import Route, RouteError, find

GUID = "CD2C1638-1638-72D5-1638-DEADBEEF1638"


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("items", "items", {}),
        ("items", "ITEMS/", {}),
        ("items", "items/1", None),
        ("items/{id}", "items/1", {"id": "1"}),
        ("items/{id}", "items", None),
        ("items/{id}", "items//", None),
        ("items/{id?}", "items", {}),
        ("items/{id=5}", "items", {"id": "5"}),
        ("items/{id:int}", "items/-7", {"id": "-7"}),
        ("items/{id:int}", "items/2147483648", None),
        ("items/{id:long}", "items/2147483648", {"id": "2147483648"}),
        ("items/{id:int:min(3)}", "items/2", None),
        ("items/{id:int:min(3)}", "items/3", {"id": "3"}),
        ("items/{id:range(1,9)}", "items/10", None),
        ("items/{id:guid}", f"items/{GUID}", {"id": GUID}),
        ("items/{id:guid}", "items/1", None),
        ("items/{on:bool}", "items/TRUE", {"on": "TRUE"}),
        ("items/{day:datetime}", "items/2026-11-21", {"day": "2026-11-21"}),
        ("items/{day:datetime}", "items/soon", None),
        ("items/{name:alpha}", "items/abc1", None),
        ("items/{name:length(3)}", "items/abc", {"name": "abc"}),
        ("items/{name:length(1,2)}", "items/abc", None),
        ("items/{name:minlength(4)}", "items/abc", None),
        ("items/{name:maxlength(2)}", "items/abc", None),
        ("items/{id:max(3)}", "items/4", None),
        ("items/{n:decimal}", "items/1.5", {"n": "1.5"}),
        ("items/{code:regex(^[a-c]+$)}", "items/abd", None),
        ("items/{code:regex(^[a-c]+$)}", "items/abc", {"code": "abc"}),
        ("files/{*rest}", "files/a/b%2Fc/%C3%A4", {"rest": "a/b/c/ä"}),
        ("files/{*rest}", "files", {}),
        ("files/{**rest}", "files/x", {"rest": "x"}),
        ("{a}/x/{b?}", "1/x", {"a": "1"}),
        ("", "", {}),
        ("", "a", None),
    ],
)  # fmt: skip
def test_route_matches_as_in_aspnet(template: str, path: str, expected: dict[str, str] | None) -> None:
    """Literals, parameters, constraints, defaults and catch-alls."""
    assert Route.parse(template).match(path) == expected


@pytest.mark.parametrize(
    "template",
    [
        "a/{b",
        "a/{}",
        "{*rest}/b",
        "{a?}/b",
        "{a}/{A}",
        "x{a}",
        "{a}.{b}",
        "{a:nope}",
        "{a:min(x)}",
        "{a:regex(()}",
        "a//b",
    ],
)
def test_template_that_cannot_be_served_is_refused(template: str) -> None:
    """The message names the template."""
    with pytest.raises(RouteError, match="the route"):
        Route.parse(template)


SEGMENTS = st.lists(st.sampled_from(["word", "{p:alpha}", "{p}"]), max_size=3)


@st.composite
def templates(draw: st.DrawFn) -> str:
    """Up to three parts, the last perhaps a catch-all, with parameters of different names."""
    parts = draw(SEGMENTS) + draw(st.sampled_from([[], ["{*p:alpha}"], ["{*p}"]]))
    return "/".join(part.replace("{p", f"{{p{n}").replace("{*p", f"{{*p{n}") for n, part in enumerate(parts))


def rank(part: str) -> int:
    """How specific one part is, by the list in ASP.NET Core's documentation."""
    if not part.startswith("{"):
        return 1
    return {(False, True): 2, (False, False): 3, (True, True): 4, (True, False): 5}["*" in part, ":" in part]


@given(
    st.lists(templates(), unique=True, max_size=6),
    st.lists(st.sampled_from(["word", "abc", "a1"]), max_size=3),
)
def test_most_specific_matching_route_comes_first(written: list[str], path: list[str]) -> None:
    """The order of declaration does not matter, and nothing that matches alone is lost."""
    routes = [(Route.parse(template), template) for template in written]
    found = [template for template, _ in find(routes, "/".join(path))]
    assert sorted(found) == sorted(t for route, t in routes if route.match("/".join(path)) is not None)
    ranks = [[rank(part) for part in template.split("/") if part] for template in found]
    assert ranks == sorted(ranks)
    again = [template for template, _ in find(list(reversed(routes)), "/".join(path))]
    assert [[rank(p) for p in t.split("/") if p] for t in again] == ranks


@given(st.text(min_size=1).filter(lambda text: text.strip("/") == text))
def test_any_value_survives_the_address(value: str) -> None:
    """What a client percent-encodes is what the function gets."""
    encodable = value.encode("utf-8", "replace").decode()
    assert Route.parse("a/{v}").match("a/" + quote(encodable, safe="")) == {"v": encodable}
