"""The part of OData's `$filter` that directory audits take, and nothing beyond it.

Source: "directoryAudit resource type", which lists the properties and the operators of each. Pure.
"""

import re
from collections.abc import Callable
from typing import Any

from local.cloud.graph_pages import Record
from local.cloud.ticks import parse_instant

Predicate = Callable[[Record], bool]

TIME = "activityDateTime"

_TEXTS: dict[str, frozenset[str]] = {
    "activityDisplayName": frozenset({"eq", "startswith"}),
    "correlationId": frozenset({"eq"}),
    "id": frozenset({"eq"}),
    "loggedByService": frozenset({"eq"}),
    "initiatedBy/user/id": frozenset({"eq"}),
    "initiatedBy/user/displayName": frozenset({"eq"}),
    "initiatedBy/user/userPrincipalName": frozenset({"eq", "startswith"}),
    "initiatedBy/app/appId": frozenset({"eq"}),
    "initiatedBy/app/displayName": frozenset({"eq"}),
}
_TARGETS = {"id": frozenset({"eq"}), "displayName": frozenset({"eq", "startswith"})}

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<date>\d{4}-\d{2}-\d{2}T[\d:.]+(?:Z|[+-]\d{2}:\d{2}))|"
    r"(?P<name>[A-Za-z_][\w/]*)|(?P<sign>[(),:]))"
)


class InvalidFilterError(ValueError):
    """A filter that the service refuses."""


class _Parser:
    """A recursive descent over one filter: or, and, brackets, comparisons."""

    def __init__(self, text: str) -> None:
        self.dates: list[int] = []
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while text[place:].strip():
            found = _TOKEN.match(text, place)
            if found is None or found.lastgroup is None:
                raise InvalidFilterError(text)
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            place = found.end()
        self._tokens.append(("end", ""))

    def whole(self) -> Predicate:
        predicate = self._either()
        self._expect("end")
        return predicate

    def _peek(self) -> str:
        return self._tokens[0][1]

    def _expect(self, kind: str, text: str | None = None) -> str:
        found, value = self._tokens.pop(0)
        if found != kind or (text is not None and value != text):
            raise InvalidFilterError(value)
        return value

    def _either(self) -> Predicate:
        one = self._both()
        while self._peek() == "or":
            self._expect("name")
            one = _any_of(one, self._both())
        return one

    def _both(self) -> Predicate:
        one = self._term()
        while self._peek() == "and":
            self._expect("name")
            one = _all_of(one, self._term())
        return one

    def _term(self) -> Predicate:
        if self._peek() == "(":
            self._expect("sign")
            inner = self._either()
            self._expect("sign", ")")
            return inner
        name = self._expect("name")
        if name == "startswith":
            self._expect("sign", "(")
            path = self._expect("name")
            self._expect("sign", ",")
            prefix = self._text()
            self._expect("sign", ")")
            _allowed(_TEXTS.get(path), "startswith")
            return lambda record: str(_at(record, path) or "").startswith(prefix)
        if name == "targetResources/any":
            return self._target()
        operator = self._expect("name")
        if name == TIME:
            return self._time(operator)
        _allowed(_TEXTS.get(name), operator)
        wanted = self._text()
        return lambda record: _at(record, name) == wanted

    def _time(self, operator: str) -> Predicate:
        date = parse_instant(self._expect("date"))
        self.dates.append(date)
        match operator:
            case "ge":
                return lambda record: parse_instant(record[TIME]) >= date
            case "le":
                return lambda record: parse_instant(record[TIME]) <= date
            case "eq":
                return lambda record: parse_instant(record[TIME]) == date
            case "gt" | "lt":
                # Undocumented, and reported to be ignored (microsoftgraph/security-api-solutions issue 23).
                return lambda _: True
        raise InvalidFilterError(operator)

    def _target(self) -> Predicate:
        self._expect("sign", "(")
        variable = self._expect("name")
        self._expect("sign", ":")
        starts = self._peek() == "startswith"
        if starts:
            self._expect("name")
            self._expect("sign", "(")
        owner, _, key = self._expect("name").partition("/")
        if owner != variable:
            raise InvalidFilterError(owner)
        if starts:
            self._expect("sign", ",")
        else:
            self._expect("name", "eq")
        _allowed(_TARGETS.get(key), "startswith" if starts else "eq")
        wanted = self._text()
        if starts:
            self._expect("sign", ")")
        self._expect("sign", ")")
        if starts:
            return lambda record: any(
                str(each.get(key) or "").startswith(wanted) for each in record["targetResources"]
            )
        return lambda record: any(each.get(key) == wanted for each in record["targetResources"])

    def _text(self) -> str:
        return self._expect("text")[1:-1].replace("''", "'")


def parse_filter(text: str) -> tuple[Predicate, list[int]]:
    """A test for records, and the instants that the filter names (ticks).

    Raises InvalidFilterError for an undocumented property or operator, a quoted date, and bad syntax.
    """
    parser = _Parser(text)
    try:
        return parser.whole(), parser.dates
    except InvalidFilterError:
        raise
    except ValueError as error:
        raise InvalidFilterError(str(error)) from error


def _all_of(one: Predicate, other: Predicate) -> Predicate:
    return lambda record: one(record) and other(record)


def _any_of(one: Predicate, other: Predicate) -> Predicate:
    return lambda record: one(record) or other(record)


def _allowed(operators: frozenset[str] | None, operator: str) -> None:
    if operators is None or operator not in operators:
        raise InvalidFilterError(operator)


def _at(record: Record, path: str) -> Any:
    value: Any = record
    for step in path.split("/"):
        value = value.get(step) if isinstance(value, dict) else None
    return value
