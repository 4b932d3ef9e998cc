"""A filter stays itself inside parentheses, or it is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.odata import names, problem

words = st.sampled_from(
    ["result", "eq", "category", "status/errorCode", "t:", "-1.5", "2026-11-21T10:00:00Z"]
)
strings = st.text(max_size=8).map(lambda text: "'" + text.replace("'", "''") + "'")
filters = st.recursive(
    words | strings,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=4).map(" ".join)
        | inner.map(lambda text: f"({text})")
        | st.tuples(inner, inner).map(lambda pair: f"contains({pair[0]}, {pair[1]})")
    ),
    max_leaves=12,
)


def leaves_its_parentheses(filter_: str) -> bool:
    """Whether a filter closes the parenthesis that it is put into, or leaves it, or a string, open."""
    depth, inside_string = 1, False
    for character in filter_:
        if character == "'":
            inside_string = not inside_string
        elif not inside_string:
            depth += (character == "(") - (character == ")")
        if depth == 0:
            return True
    return inside_string or depth != 1


@given(filters)
def test_a_filter_is_taken(filter_: str) -> None:
    """Words, numbers, times, texts with anything in them, calls, lambdas and groups are one filter."""
    assert problem(filter_) is None


@given(st.text("'()a,& ", max_size=12) | st.text(max_size=12))
def test_nothing_that_is_taken_gets_out_of_its_parentheses(filter_: str) -> None:
    """What is joined to the window's own terms can neither undo them nor add to the request."""
    if problem(filter_) is None:
        assert not leaves_its_parentheses(filter_)
        assert not set('&#?;"%') & set("".join(filter_.split("'")[::2]))


@given(filters, filters)
def test_what_gets_out_is_refused(one: str, other: str) -> None:
    """The way to undo the window's terms is a parenthesis that closes ours."""
    for filter_ in (f"{one}) or ({other}", f"({one}", f"{one}'", f"{one})"):
        assert problem(filter_) is not None


@pytest.mark.parametrize(
    ("filter_", "found"),
    [
        ("", "nothing"),
        ("  ", "nothing"),
        ("a eq 'b", '"\'b" at character 6'),
        ("a eq 1 & $top=5", "'& $top=5' at character 8"),
        ("a) or (b", "closes nothing, at character 2"),
        ("(a", "does not close"),
        ('a eq "b"', "at character 6"),
    ],
)
def test_the_place_is_named(filter_: str, found: str) -> None:
    """Who wrote the filter is told where it goes wrong."""
    assert found in (problem(filter_) or "")


@given(st.lists(st.sampled_from(["createdDateTime", "eq", "and", "status"]), min_size=1), strings)
def test_names_are_those_outside_of_texts(known: list[str], text: str) -> None:
    """A name inside a text is no property."""
    assert names(f"{' '.join(known)} {text}") == set(known)


def test_a_name_is_found_wherever_it_stands() -> None:
    """Inside calls, paths, lambdas and beside other signs."""
    filter_ = "contains(a/b,'c') and not(d/any(e:e/f eq 'g''h')) and $it/i lt 1"
    assert names(filter_) == set("abdefi") | {"contains", "and", "not", "any", "eq", "it", "lt"}
