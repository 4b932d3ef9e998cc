"""Refuses KQL that looks beyond the workspace, calls out of it, or lifts its limits. Pure.

It reads tokens and fails closed: what it cannot place, or what two readers of KQL could take for different
tokens, is refused, whether or not the service would run it. So the text that was checked is the query that
the service sees. A column that is named as a function, before a bracket (``partition by app (…)``), is taken
for a call. What functions do that are stored in the workspace is not known here.

Sources: the Kusto documentation's "Cross-cluster and cross-database queries", "Plugins" and "Query
statements"; Azure Monitor's "Query across resources"; the grammar and the lexer that Microsoft publishes
(microsoft/Kusto-Query-Language); "T-SQL" (two hyphens at a query's start make it SQL).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from shared import kql
from shared.errors import BadRequestError
from shared.kql import Token

_ELSEWHERE = frozenset({"workspace", "app", "resource", "cluster", "database", "adx", "arg"})
_OUTSIDE = frozenset({"external_table", "stored_query_result"})
_EXTERNAL = frozenset({"externaldata", "external_data", "inline_external_table"})
_OUTWARD_PLUGINS = frozenset(
    {
        *("ai_chat_completion", "ai_chat_completion_prompt", "ai_embed_text", "ai_embeddings"),
        *("azure_digital_twins_query_request", "cosmosdb_sql_request", "dax_request", "sql_request"),
        *("mysql_request", "postgresql_request", "http_request", "http_request_post"),
        *("infer_storage_schema", "infer_storage_schema_with_suggestions", "external_datatable"),
        *("execute_query", "execute_show_command", "csharp", "python", "r"),
    }
)
_LOCAL_PLUGINS = frozenset(
    {
        *("active_users_count", "activity_counts_metrics", "activity_engagement", "activity_metrics"),
        *("autocluster", "bag_unpack", "basket", "dcount_intersect", "diffpatterns", "diffpatterns_text"),
        *("estimate_rows_count", "funnel_sequence", "funnel_sequence_completion", "geo_line_lookup"),
        *("geo_polygon_lookup", "ipv4_lookup", "ipv6_lookup", "narrow"),
        *("new_activity_metrics", "pivot", "preview", "rolling_percentile", "rows_near", "schema_merge"),
        *("sequence_detect", "session_count", "sliding_window_counts"),
    }
)
_NEVER = frozenset(
    {"entity_group", "__crosscluster", "__crossdb", "__executeandcache", "__contextual_datatable", "__invoke"}
)
_NO_KQL = "only KQL can be asked"
_STATEMENTS = {
    **dict.fromkeys(("explain", "select", "exec", "execute", "with"), _NO_KQL),
    "set": "it can lift the limits on rows, bytes and time",
    "alias": "it names another database",
    "declare": "values are given to a query in the request's parameters",
    "restrict": "a query is one expression, which let statements may precede",
}

_CALLS = {
    **dict.fromkeys(_ELSEWHERE, "it reads data of another workspace, resource or cluster"),
    **dict.fromkeys(_OUTSIDE, "it reads data that is no table of the workspace"),
    **dict.fromkeys(_OUTWARD_PLUGINS, "the plugin calls a service, reads elsewhere or runs other code"),
}
ALLOWABLE = frozenset({*_CALLS, "externaldata", "set"})
"""The names that the setting QUERY_ALLOW may hold."""

# A line ends here for one reader and not for another, and a NUL or half a character may end a text.
_NOWHERE = re.compile(r"[\x00\x0b\x0c\x1c-\x1e\x85\u2028\u2029\ud800-\udfff]|\r(?!\n)")
_BETWEEN = re.compile(r"(?:[ \t\r\n]|//[^\r\n]*)*")
_SQL = re.compile(r"^[ \t]*(--)", re.MULTILINE)
_MARKS = frozenset("()[]{}|.,;:=<>!+-*/%~")
_DOLLARS = frozenset({"$left", "$right", "$table"})
_PAIRS = {")": "(", "]": "[", "}": "{"}
_JOINED_MARKS = frozenset({"/*", "<|", "~~"})
_WORDS = frozenset({"word", "number", "guid"})
_SPAN_UNITS = (
    "d|days?|h|hrs?|hours?|m|min|minutes?|s|sec|seconds?|ms|milli(?:s|sec|seconds?)?"
    "|micro(?:s|sec|seconds?)?|nano(?:s|sec|seconds?)?|ticks?"
)
_NUMBER = re.compile(
    rf"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+|{_SPAN_UNITS})?|0[xX][0-9a-fA-F]+|[0-9]+[A-Za-z_][A-Za-z0-9_]*"
)
# After these a reader may take everything up to the next ")" for one literal, also quotes and slashes.
_LITERALS = frozenset(
    {
        *("bool", "boolean", "byte", "char", "date", "datetime", "decimal", "double", "float", "guid", "int"),
        *("int16", "int32", "int64", "int8", "long", "real", "time", "timespan", "typeof", "uint", "uint16"),
        *("uint32", "uint64", "uint8", "ulong", "uniqueid", "uuid"),
    }
)
_PLAIN = r"(?:[A-Za-z0-9_:.,+% \t-]|/(?!/))*"
_LITERAL = re.compile(rf"""\((?:[ \t]*(["']){_PLAIN}\1[ \t]*|{_PLAIN})\)""")

# Words of sources, which Microsoft's parser may find in what it does not take for a literal after all.
_UNFIT = re.compile("|".join((*_EXTERNAL, *_NEVER, "macro-expand")), re.IGNORECASE)


def check(text: str, allowed: frozenset[str]) -> None:
    """Refuse a query that holds what its caller may not use, except the ``allowed`` names of ALLOWABLE.

    Raises BadRequestError, which names what is refused, at which character (from 1), and why.
    """
    try:
        found = list(kql.tokens(text))
    except ValueError as error:
        raise BadRequestError("query", str(error)) from error
    for refusal in _refusals(text, found):
        if refusal.entry is None or refusal.entry not in allowed:
            raise BadRequestError("query", str(refusal))


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What is refused, where it begins (from 0), why, and the entry of QUERY_ALLOW that permits it."""

    what: str
    start: int
    why: str
    entry: str | None = None

    def __str__(self) -> str:
        said = f"{self.what[:100]} at character {self.start + 1} is refused: {self.why}"
        return f"{said} (the setting QUERY_ALLOW permits it as {self.entry!r})" if self.entry else said


def _refusals(text: str, found: list[Token]) -> Iterator[_Refusal]:
    """Yield every reason to refuse a text. Only where none is about its spelling are the tokens certain."""
    code = list(_with_literals(text, found))
    tokens = [token for token in code if isinstance(token, Token)]
    yield from (refusal for refusal in code if isinstance(refusal, _Refusal))
    yield from _characters(text, tokens)
    for token in tokens:
        yield from _spelling(token)
    starts = {token.start for token in tokens}
    for match in _SQL.finditer(text):
        if match.start(1) in starts:
            yield _Refusal("-- first in its line", match.start(1), f"it begins SQL; {_NO_KQL}")
    for token, after in pairwise(tokens):
        yield from _joint(text, token, after)
    for token, after in pairwise([*tokens, Token("end", "", len(text), len(text))]):
        yield from _name(text, token, after)
    for at, token in enumerate(tokens):
        if token.kind == "word" and token.text.lower() == "evaluate":
            yield from _plugin(token, tokens[at + 1 : at + 50])  # room for nine hints
    yield from _statements(tokens)


def _with_literals(text: str, found: list[Token]) -> Iterator[Token | _Refusal]:
    """Yield the tokens, each literal such as ``datetime(2026-11-21)`` as one, and what is wrong with one."""
    end = 0
    for token, after in pairwise([*found, Token("end", "", len(text), len(text))]):
        if token.start < end:
            continue
        if token.kind == "word" and token.text.lower() in _LITERALS and after.text == "(":
            literal = _LITERAL.match(text, after.start)
            if literal is None or _UNFIT.search(literal[0]):
                yield _Refusal(
                    f"{token.text}(…)",
                    token.start,
                    "between its brackets it may hold one plain value, such as 5 or 2026-11-21T10:00:00Z",
                )
            else:
                end = literal.end()
                yield Token("literal", text[token.start : end], token.start, end)
                continue
        yield token


def _characters(text: str, found: list[Token]) -> Iterator[_Refusal]:
    """Yield the characters that one reader of KQL takes for a space or a line's end, and another does not."""
    for match in _NOWHERE.finditer(text):
        yield _Refusal(
            f"the character U+{ord(match[0]):04X}",
            match.start(),
            "lines end with a line feed; in a string write it as an escape",
        )
    end = 0
    for token in [*found, Token("end", "", len(text), len(text))]:
        gap = _BETWEEN.match(text, end, token.start)
        if gap is None or gap.end() < token.start:
            at = gap.end() if gap else end
            yield _stranger(text[at], at)
        end = token.end


def _stranger(character: str, start: int) -> _Refusal:
    what = repr(character) if character.isprintable() else f"the character U+{ord(character):04X}"
    why = "it is no part of KQL outside strings and comments (a name is quoted as in ['größe'])"
    return _Refusal(what, start, why)


def _spelling(token: Token) -> Iterator[_Refusal]:
    """Yield what is wrong with one token by itself."""
    if token.kind == "string":
        if token.text.lstrip("hH").startswith("~~~"):
            yield _Refusal("a string in ~~~", token.start, "write it in ``` instead")
        try:
            kql.string_value(token.text)
        except ValueError as error:
            yield _Refusal("a string", token.start, f"{error}; a backslash is written twice, or in @'…'")
    elif token.kind == "word" and "$" in token.text and token.text not in _DOLLARS:
        yield _Refusal(repr(token.text), token.start, f"only {', '.join(sorted(_DOLLARS))} have a $")
    elif token.kind == "number" and not _NUMBER.fullmatch(token.text):
        yield _Refusal(repr(token.text), token.start, "it is neither a number, nor a timespan, nor a name")
    elif token.kind == "mark" and token.text not in _MARKS:
        yield _stranger(token.text, token.start)


def _joint(text: str, token: Token, after: Token) -> Iterator[_Refusal]:
    """Yield what is wrong with two tokens, one after the other."""
    both = text[token.start : after.end]
    if token.end == after.start:
        if token.kind in _WORDS and after.kind in _WORDS:
            yield _Refusal(repr(both), token.start, "a space is missing within")
        if token.kind in _WORDS - {"word"} and after.text == "." and text[after.end : after.end + 1] != ".":
            yield _Refusal(repr(both), token.start, "digits must follow the point, or a second point")
        if both in _JOINED_MARKS:
            yield _Refusal(repr(both), token.start, "it is no operator of KQL")
    if after.text == "(":
        if token.text == "]":
            yield _Refusal("'](…)'", token.start, "a function is called by its plain name")
        elif token.kind in {"number", "guid", "literal"}:
            yield _Refusal(repr(both), token.start, "a number cannot be called")


def _name(text: str, token: Token, after: Token) -> Iterator[_Refusal]:
    """Yield what may not be named, or called by its name."""
    if token.kind != "word":
        return
    name = token.text.lower()
    if name in _EXTERNAL:
        yield _Refusal(repr(token.text), token.start, "it reads data from elsewhere", "externaldata")
    if name in _NEVER or text[token.start : token.start + 12].lower() == "macro-expand":
        yield _Refusal(repr(token.text), token.start, "no query of one workspace needs it")
    if after.text == "(" and name in _CALLS:
        yield _Refusal(f"{token.text}(…)", token.start, _CALLS[name], name)


def _plugin(evaluate: Token, rest: list[Token]) -> Iterator[_Refusal]:
    """Yield what is wrong with the plugin that ``evaluate`` runs."""
    kinds = [token.kind for token in rest]
    at = 0
    while [token.text.lower() for token in rest[at : at + 2]] == ["hint", "."] and len(rest) > at + 4:
        if kinds[at + 2] != "word" or rest[at + 3].text != "=" or kinds[at + 4] not in {"word", "number"}:
            break
        at += 5
    if kinds[at : at + 2] != ["word", "mark"] or rest[at + 1].text != "(":
        yield _Refusal("evaluate", evaluate.start, "a plugin's name and ( must follow it, after any hints")
    elif (name := rest[at].text.lower()) not in _LOCAL_PLUGINS and name not in _CALLS:
        yield _Refusal(
            f"evaluate {rest[at].text}", evaluate.start, "it is not known to stay within the workspace"
        )


@dataclass(slots=True)
class _Block:
    """An open bracket (``""``: the whole text), and where its statements are.

    ``first`` is the token that the open statement began with; ``over`` says that the expression has been.
    """

    opening: str
    first: Token | None
    over: bool = False


def _statements(found: list[Token]) -> Iterator[_Refusal]:
    """Yield what is no ``let`` and not the one expression that a text, or a function's body, is made of."""
    blocks = [_Block("", None)]
    for token in found:
        block = blocks[-1]
        mark = token.text if token.kind == "mark" else ""
        if mark == ";":
            queries = block.opening in {"", "{"}  # elsewhere it ends a step of scan
            block.over |= queries and block.first is not None and block.first.text not in {"let", "set"}
            block.first = None
        elif mark in _PAIRS:
            if block.opening != _PAIRS[mark]:
                yield _Refusal(repr(mark), token.start, "no bracket is open that it closes")
                return
            blocks.pop()
        else:
            if block.first is None:
                block.first = token
                yield from _statement(token, block.over)
            if mark in _PAIRS.values():
                # What a brace opens may be a function's body; what stands in other brackets is no statement.
                blocks.append(_Block(mark, None if mark == "{" else token))
    if len(blocks) > 1:
        yield _Refusal("the end", found[-1].end, f"a {blocks[-1].opening} is not closed")


def _statement(first: Token, over: bool) -> Iterator[_Refusal]:
    """Yield what is wrong with a statement by its first token; ``over``: the expression came before it."""
    name = first.text.lower() if first.kind == "word" else ""
    if name in _STATEMENTS:
        entry = "set" if name == "set" else None
        yield _Refusal(f"the statement {first.text!r}", first.start, _STATEMENTS[name], entry)
    elif first.kind == "mark" and first.text == ".":
        yield _Refusal("a command (.…)", first.start, "only queries can be asked")
    elif first.kind == "mark" and first.text == "-":
        yield _Refusal("a query that begins with a hyphen", first.start, _NO_KQL)
    elif over:
        yield _Refusal(
            "a second query", first.start, "a query is one expression, which let statements may precede"
        )
