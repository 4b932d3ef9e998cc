"""The part of OData's `$filter` that Graph's logs take, and nothing beyond it. Pure.

What a log takes is its `Grammar`: a property that is not in it is refused, and so is an operator that its
property does not have. Between comparisons there are `and`, `or` and brackets. Names are read whatever their
case, as in Microsoft's own links to `…/auditLogs/provisioning/?$filter=jobid eq '…'` ("Perform inbound
provisioning bulkUpload"), keywords and values are not.
"""

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from local.cloud.graph_pages import Record
from local.cloud.ticks import parse_instant

Predicate = Callable[[Any], bool]
Compare = Callable[[Any, Any], bool]

_TEXT: dict[str, Compare] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "startswith": str.startswith,
    "contains": operator.contains,
}
_ORDER: dict[str, Compare] = {
    "eq": operator.eq,
    "ge": operator.ge,
    "le": operator.le,
    "gt": operator.gt,
    "lt": operator.lt,
}
_FUNCTIONS = ("startswith", "contains")

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|"
    r"(?P<date>\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:\d{2}))?)(?![\w:])|"
    r"(?P<number>-?\d+)(?![\w-])|"
    r"(?P<name>[A-Za-z_][\w/]*)|(?P<sign>[(),:]))"
)


class InvalidFilterError(ValueError):
    """A filter that the service refuses. `missing` is the property that the log's records do not have."""

    def __init__(self, text: str, missing: str | None = None) -> None:
        super().__init__(text)
        self.missing = missing


@dataclass(frozen=True)
class Property:
    """How a property can be filtered: the kind of its literals, and what each operator does."""

    kind: str
    operators: Mapping[str, Compare]


Grammar = Mapping[str, Property]
"""A property's path -> how it can be filtered; an element of a collection is at ``path/any``."""


@dataclass(frozen=True)
class Filter:
    """A filter that was understood: its test, the instants in it (ticks) and the properties that it names."""

    matches: Predicate
    dates: list[int]
    properties: frozenset[str]


def text(operators: str) -> Property:
    """A property whose values are text, with operators such as ``"eq startswith"``."""
    return Property("text", {each: _TEXT[each] for each in operators.split()})


def number(operators: str) -> Property:
    """A property whose values are whole numbers."""
    return Property("number", {each: _ORDER[each] for each in operators.split()})


def instant(operators: str, **odd: Compare) -> Property:
    """A property whose values are instants; `odd` are operators that do not do what they say."""
    return Property("date", {each: _ORDER[each] for each in operators.split()} | odd)


def parse_filter(text: str, grammar: Grammar, members: Collection[str]) -> Filter:
    """What a filter says to a log whose records have `members`.

    Raises InvalidFilterError for a property or an operator that is not in the grammar, a literal of another
    kind (such as a quoted date), and bad syntax.
    """
    parser = _Parser(text, grammar, members)
    try:
        return Filter(parser.whole(), parser.dates, frozenset(parser.properties))
    except InvalidFilterError:
        raise
    except ValueError as error:
        raise InvalidFilterError(str(error)) from error


class _Parser:
    """A recursive descent over one filter: or, and, brackets, comparisons."""

    def __init__(self, text: str, grammar: Grammar, members: Collection[str]) -> None:
        self.dates: list[int] = []
        self.properties: set[str] = set()
        self._grammar = {path.lower(): (path, each) for path, each in grammar.items()}
        self._members = {each.lower() for each in members}
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
        collection, any_, _ = self._peek().partition("/any")
        return self._elements(collection) if any_ else self._comparison("")

    def _elements(self, collection: str) -> Predicate:
        """``collection/any(t: …)`` with one comparison of the element `t`, or of a property `t/…` of it."""
        self._expect("name", f"{collection}/any")
        self._expect("sign", "(")
        variable = self._expect("name")
        self._expect("sign", ":")
        matches = self._comparison(f"{collection}/any", variable)
        self._expect("sign", ")")
        paths = (path.partition("/any")[0] for path, _ in self._grammar.values())
        path = next(each for each in paths if each.lower() == collection.lower())
        return lambda record: any(matches(each) for each in _at(record, path) or ())

    def _comparison(self, owner: str, variable: str = "") -> Predicate:
        """``path operator literal`` or ``function(path, literal)``."""
        name = self._peek().lower()
        if name in _FUNCTIONS:
            self._expect("name")
            self._expect("sign", "(")
            path, found, fold = self._property(owner, variable)
            self._expect("sign", ",")
            wanted = self._literal(found.kind)
            self._expect("sign", ")")
        else:
            path, found, fold = self._property(owner, variable)
            name = self._expect("name")
            if name in _FUNCTIONS:
                raise InvalidFilterError(name)
            wanted = self._literal(found.kind)
        compare = found.operators.get(name)
        if compare is None:
            raise InvalidFilterError(name)

        def matches(record: Any) -> bool:
            value = _at(record, path)
            if value is None:
                return False
            if found.kind == "date":
                value = parse_instant(value)
            return compare(value.lower() if fold else value, wanted)

        return matches

    def _property(self, owner: str, variable: str) -> tuple[str, Property, bool]:
        """The path in the record or element, how it can be filtered, and whether `tolower` is around it."""
        fold = self._peek() == "tolower"
        if fold:
            self._expect("name")
            self._expect("sign", "(")
        name = self._expect("name")
        if fold:
            self._expect("sign", ")")
        if variable:
            first, _, rest = name.partition("/")
            if first != variable:
                raise InvalidFilterError(name)
            name = f"{owner}/{rest}" if rest else owner
        if self._peek() == "(":  # `not`, or a function that no log takes
            raise InvalidFilterError(name)
        if name.partition("/")[0].lower() not in self._members:
            raise InvalidFilterError(name, missing=name.partition("/")[0])
        if name.lower() not in self._grammar:
            raise InvalidFilterError(name)
        path, found = self._grammar[name.lower()]
        self.properties.add(path)
        return path.partition("/any")[2].removeprefix("/") if variable else path, found, fold

    def _literal(self, kind: str) -> Any:
        value = self._expect(kind)
        if kind == "date":
            self.dates.append(parse_instant(value))
            return self.dates[-1]
        return int(value) if kind == "number" else value[1:-1].replace("''", "'")


def _all_of(one: Predicate, other: Predicate) -> Predicate:
    return lambda record: one(record) and other(record)


def _any_of(one: Predicate, other: Predicate) -> Predicate:
    return lambda record: one(record) or other(record)


def _at(record: Record | Any, path: str) -> Any:
    value: Any = record
    for step in path.split("/") if path else ():
        value = value.get(step) if isinstance(value, dict) else None
    return value
