"""HTTP routes: templates such as `items/{id:int?}` and `files/{*rest}`, and which one answers a path. Pure.

Templates and their order as in "Routing in ASP.NET Core" (Microsoft Learn), which the Functions host uses.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Self, TypeVar
from urllib.parse import unquote

T = TypeVar("T")

_PARAMETER = re.compile(r"\{(\*{0,2})(\w+)((?::\w+(?:\([^{}]*\))?)*)(?:=([^{}?]*))?(\?)?\}")
_CONSTRAINT = re.compile(r":(\w+)(?:\(([^{}]*?)\))?(?=:|$)")


class RouteError(ValueError):
    """The template is not one that the host can serve; the message says why."""


@dataclass(frozen=True)
class Segment:
    """One part between slashes: a `literal` (lower case), or a parameter and the tests of its value."""

    literal: str = ""
    name: str = ""
    tests: tuple[Callable[[str], bool], ...] = ()
    catch_all: bool = False
    optional: bool = False
    default: str | None = None

    @property
    def precedence(self) -> int:
        """Smaller is more specific: literal, constrained parameter, parameter; then catch-alls likewise."""
        if not self.name:
            return 1
        return (4 if self.catch_all else 2) + (not self.tests)


@dataclass(frozen=True)
class Route:
    """A parsed route template, without the prefix."""

    template: str
    segments: tuple[Segment, ...]

    @classmethod
    def parse(cls, template: str) -> Self:
        """Read a template; raises `RouteError`."""
        parts = template.strip("/").split("/") if template.strip("/") else []
        segments = tuple(_segment(part, template) for part in parts)
        names = [segment.name.lower() for segment in segments if segment.name]
        if len(set(names)) < len(names):
            raise RouteError(f"the route {template!r} has two parameters of one name")
        for segment, following in pairwise(segments):
            if segment.catch_all or (segment.optional and not following.optional):
                raise RouteError(f"the route {template!r}: {segment.name!r} can only be the last part")
        return cls(template.strip("/"), segments)

    @property
    def precedence(self) -> tuple[int, ...]:
        """What routes are ordered by, most specific first."""
        return tuple(segment.precedence for segment in self.segments)

    def match(self, path: str) -> dict[str, str] | None:
        """Return the parameters in a percent-encoded path without prefix, or None where it does not match."""
        parts = path.strip("/").split("/") if path.strip("/") else []
        found: dict[str, str] = {}
        for index, segment in enumerate(self.segments):
            rest = parts[index:]
            if segment.catch_all:
                value = "/".join(map(unquote, rest)) or segment.default
                parts = parts[: index + 1]
            else:
                value = unquote(rest[0]) if rest else segment.default
            if value is None and (segment.optional or segment.catch_all):
                continue
            if not value or not segment_accepts(segment, value):
                return None
            if segment.name:
                found[segment.name] = value
        return found if len(parts) <= len(self.segments) else None


def segment_accepts(segment: Segment, value: str) -> bool:
    """Whether one decoded part of a path fits the segment; letters' case does not matter in literals."""
    if not segment.name:
        return value.lower() == segment.literal
    return all(test(value) for test in segment.tests)


def find(routes: Iterable[tuple[Route, T]], path: str) -> list[tuple[T, dict[str, str]]]:
    """Return every route that matches the path, most specific first, with its parameters."""
    ordered = sorted(routes, key=lambda pair: pair[0].precedence)
    matches = ((target, route.match(path)) for route, target in ordered)
    return [(target, found) for target, found in matches if found is not None]


def _segment(part: str, template: str) -> Segment:
    match = _PARAMETER.fullmatch(part)
    if match is None:
        if not part or re.search(r"[{}?*]", part):
            raise RouteError(f"the route {template!r}: the local host cannot serve the part {part!r}")
        return Segment(literal=part.lower())
    stars, name, constraints, default, optional = match.groups()
    tests = tuple(_test(kind, argument, template) for kind, argument in _CONSTRAINT.findall(constraints))
    return Segment("", name, tests, catch_all=bool(stars), optional=bool(optional), default=default or None)


def _test(kind: str, argument: str, template: str) -> Callable[[str], bool]:
    try:
        return _CONSTRAINTS[kind](argument)
    except KeyError:
        raise RouteError(f"the route {template!r}: there is no constraint {kind!r}") from None
    except (ValueError, re.error) as error:
        raise RouteError(f"the route {template!r}: {kind}({argument}) is not valid: {error}") from None


def _pattern(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.IGNORECASE | re.ASCII)
    return lambda value: compiled.search(value) is not None


def _parses(parse: Callable[[str], object]) -> Callable[[str], Callable[[str], bool]]:
    def test(value: str) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return lambda _argument: test


def _integer(low: int, high: int) -> Callable[[str], bool]:
    whole = _pattern(r"^-?\d+$")
    return lambda value: whole(value) and low <= int(value) <= high


def _length(argument: str) -> Callable[[str], bool]:
    low, _, high = argument.partition(",")
    shortest, longest = int(low), int(high or low)
    return lambda value: shortest <= len(value) <= longest


def _shortest(argument: str) -> Callable[[str], bool]:
    least = int(argument)
    return lambda value: len(value) >= least


def _range(argument: str) -> Callable[[str], bool]:
    low, _, high = argument.partition(",")
    return _integer(int(low), int(high))


_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$"

_CONSTRAINTS: dict[str, Callable[[str], Callable[[str], bool]]] = {
    "alpha": lambda _: _pattern("^[a-z]*$"),
    "bool": lambda _: _pattern("^(true|false)$"),
    "datetime": _parses(datetime.fromisoformat),
    "decimal": lambda _: _pattern(_NUMBER),
    "double": lambda _: _pattern(_NUMBER),
    "float": lambda _: _pattern(_NUMBER),
    "guid": _parses(uuid.UUID),
    "int": lambda _: _integer(-(2**31), 2**31 - 1),
    "length": _length,
    "long": lambda _: _integer(-(2**63), 2**63 - 1),
    "max": lambda argument: _integer(-(2**63), int(argument)),
    "maxlength": lambda argument: _length(f"0,{int(argument)}"),
    "min": lambda argument: _integer(int(argument), 2**63 - 1),
    "minlength": _shortest,
    "range": _range,
    "regex": _pattern,
    "required": lambda _: bool,
}
