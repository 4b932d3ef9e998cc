"""KQL's lexical grammar: what is written reads back, what is read loses nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import kql
from shared.windows import parse_instant
from tests.kusto_parser import diagnostics
from tests.unit.strategies import texts

ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|(.))", re.DOTALL)
PIECES = [
    "Event", "where", "project-away", " ", "\n", "|", ";", "(", ")", "==", "'a | b; //'", '"it\'s"', "h'x'",
    '@"c:\\"', "@'it''s'", "```x ' | \" y\n```", "// note | 'x\n", "5h", "1.5e3", "['my table']",
    "\\", "ü", "$left", "'a\\'b'",
]  # fmt: skip
codes = st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join)


def decoded(literal: str) -> str:
    """Read a Kusto string literal by the documentation's rules, not by the code under test."""
    assert literal[0] == literal[-1] == "'"
    assert not re.search(r"[\x00-\x1f]", literal)
    plain = {"n": "\n", "r": "\r", "t": "\t"}
    return ESCAPE.sub(
        lambda match: chr(int(match[1], 16)) if match[1] else plain.get(match[2], match[2]), literal[1:-1]
    )


@given(texts)
def test_a_string_literal_means_its_value(value: str) -> None:
    """Whatever the text, its literal is one token of one line that means the text and nothing more."""
    literal = kql.string(value)
    assert decoded(literal) == value == kql.string_value(literal)
    assert [(token.kind, token.text) for token in kql.tokens(literal)] == [("string", literal)]


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("''", ""),
        ('"it\'s"', "it's"),
        ("'it\\'s \\\\ \\\"'", "it's \\ \""),
        ("h'x'", "x"),
        ('H"h\'"', "h'"),
        ("'\\a\\b\\f\\n\\r\\t\\v'", "\a\b\f\n\r\t\v"),
        ("'\\u0077\\x6f\\162k'", "work"),
        ("'\\U0001F600\\ud83d\\ude00'", "😀😀"),
        ("'\\0\\18\\377\\400'", "\0\x018\xff 0"),
        ("@'c:\\it''s'", "c:\\it's"),
        ('h@"a""b\\"', 'a"b\\'),
        ("```a'\\n\nb```", "a'\\n\nb"),
        ("~~~a```b~~~", "a```b"),
    ],
)
def test_a_string_literal_is_read(literal: str, value: str) -> None:
    """Every form of a string and every escape that Kusto documents mean what it says."""
    assert kql.string_value(literal) == value


@pytest.mark.parametrize(
    "literal", ["'\\/'", "'\\d'", "'\\u12'", "'\\x4'", "'\\8'", "'\\U00110000'", "'\\\n'"]
)
def test_an_unknown_escape_is_refused(literal: str) -> None:
    """What Kusto's lexer does not know is not guessed."""
    with pytest.raises(ValueError, match="no escape"):
        kql.string_value(literal)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("1..5", ["1", ".", ".", "5"]),
        ("1.5d 1e+5 0x1F 2.", ["1.5d", "1e+5", "0x1F", "2", "."]),
        ("1.workspace(", ["1", ".", "workspace", "("]),
        ("a$b $left", ["a", "$b", "$left"]),
        ("1st_CL", ["1st_CL"]),
        ("12345678-1234-1234-1234-123456789abcd 12345678-1", [
            "12345678-1234-1234-1234-123456789abc", "d", "12345678", "-", "1",
        ]),
    ],
)  # fmt: skip
def test_tokens_end_where_kustos_do(text: str, pieces: list[str]) -> None:
    """A number takes no dots of a range and no name with it, a GUID no more than its digits."""
    assert [token.text for token in kql.tokens(text)] == pieces


@given(codes)
def test_tokens_lose_only_spaces_and_comments(text: str) -> None:
    """Tokens are the text in order; between them lie spaces and comments and nothing else."""
    end = 0
    for token in kql.tokens(text):
        assert text[token.start : token.end] == token.text
        assert re.fullmatch(r"(?:\s|//[^\n]*)*", text[end : token.start])
        end = token.end
    assert re.fullmatch(r"(?:\s|//[^\n]*)*", text[end:])


@given(codes)
def test_the_end_of_a_query_may_be_cut_off(text: str) -> None:
    """Only what follows the last statement goes, so that another line can be added."""
    kept = kql.without_end(text)
    assert text.startswith(kept)
    assert [token for token in kql.tokens(text[len(kept) :]) if token.text != ";"] == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Event | take 5", "Event | take 5"),
        ("Event | take 5 ; ; // done;\n", "Event | take 5"),
        ("let x = 5; Event | take x;", "let x = 5; Event | take x"),
        ("Event | where a == '; //'", "Event | where a == '; //'"),
        ("// nothing but words", ""),
    ],
)
def test_examples_of_ends(text: str, kept: str) -> None:
    """A semicolon in a string or between statements is no end."""
    assert kql.without_end(text) == kept


@given(codes)
def test_statements_hold_every_token(text: str) -> None:
    """Nothing but the ``;`` between statements, spaces and comments is lost, and nothing else added."""
    try:
        found = kql.statements(text)
    except ValueError:
        return
    plain = [token.text for token in kql.tokens(text) if token.text != ";"]
    assert [token.text for each in found for token in kql.tokens(each) if token.text != ";"] == plain


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" ; // x\n;", []),
        ("Event", ["Event"]),
        ("let a = 5; Event | where b == a;", ["let a = 5", "Event | where b == a"]),
        ("// one; two\nlet a = ';'; // three\nEvent // four", ["let a = ';'", "Event"]),
        ("let f = () { T; T }; f()", ["let f = () { T; T }", "f()"]),
    ],
)
def test_examples_of_statements(text: str, found: list[str]) -> None:
    """Each from its first token to its last; a ``;`` in a string, a comment or a body parts nothing."""
    assert kql.statements(text) == found


@pytest.mark.parametrize(
    "text",
    ["'abc", '"abc', "x == 'it's'", '"a\nb"', "@'abc", '@"a\nb"', "'abc\\'", "```abc", "x == ```a | b"],
)
def test_a_string_without_end_is_refused(text: str) -> None:
    """What Microsoft's parser calls an unfinished string is not taken for code."""
    with pytest.raises(ValueError, match="string that begins at character"):
        list(kql.tokens(text))


@pytest.mark.parametrize(
    ("pipeline", "names"),
    [
        ("where a == 1", ["where"]),
        ("where a == 'x | y' | project-away b,c|mv-expand d", ["where", "project-away", "mv-expand"]),
        ("where a in ((Other | project b)) | extend c = -1", ["where", "extend"]),
        ("// first\nwhere a // second | take 1\n| parse-kv b as (c: long)", ["where", "parse-kv"]),
        ("where -a > 1 | extend x = ```|```", ["where", "extend"]),
    ],
)
def test_operators_of_a_pipeline(pipeline: str, names: list[str]) -> None:
    """Each step's operator is found, whatever stands in strings, brackets and comments."""
    assert kql.operators(pipeline) == names


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        ("", "begins with an operator"),
        ("| where a", "begins with an operator"),
        ("where a |", "begins with an operator"),
        ("where a || where b", "begins with an operator"),
        ("(where a)", "begins with an operator"),
        ("where (a", "not closed"),
        ("where a)", "unbalanced"),
        ("where a; Other", "one statement"),
        ("where a == 'b", "does not end"),
    ],
)
def test_what_is_not_one_pipeline_is_refused(pipeline: str, reason: str) -> None:
    """A text that could change the query around it is refused, with the reason."""
    with pytest.raises(ValueError, match=reason):
        kql.operators(pipeline)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T | where x > window_start", True),
        ("T | where x > ago(1h) // window_start", False),
        ("T | where x > 'window_start'", False),
        ("T | where x > window_started", False),
    ],
)
def test_a_name_is_used_in_code_only(text: str, expected: bool) -> None:
    """Strings, comments and longer names are no use of a name."""
    assert kql.uses(text, "window_start") is expected


@pytest.mark.parametrize(
    "name",
    [
        "Event",
        "_Odd1",
        "Custom_CL",
        "my table",
        "it's",
        "1st_CL",
        "a-b",
        "c\\d",
        "é",
        "by",
        "where",
        "and",
        "union",
    ],
)
def test_a_table_name_is_quoted_where_it_must_be(name: str) -> None:
    """Microsoft's parser finds the table under the name that was written."""
    tables = {"t": {"TimeGenerated": "datetime"}}
    text = f"let {kql.name(name)} = view() {{ t }};\n{kql.name(name)}\n| where TimeGenerated > ago(1h)"
    assert diagnostics(text, tables) == []


@pytest.mark.parametrize("text", ["0001-01-01", "2026-11-21T10:00:00.1234567", "9999-12-31T23:59:59.9999999"])
def test_an_instant_is_exact_and_understood(text: str) -> None:
    """A datetime literal has all seven digits, and Microsoft's parser takes it."""
    literal = kql.instant(parse_instant(text))
    assert re.fullmatch(r"datetime\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z\)", literal)
    assert diagnostics(f"print {literal}") == []


@pytest.mark.parametrize(
    "value", ["", 'it\'s "so"', "back\\slash\\", "line\r\nend\t\x00\x7f", "\u2028\u2029\x85é日😀"]
)
def test_a_string_literal_is_understood(value: str) -> None:
    """Microsoft's parser takes the literal for one string."""
    assert diagnostics(f"print x = {kql.string(value)} | project strlen(x)") == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Event | count | render timechart", "Event | count"),
        ("Event | render columnchart with (title='a | b')", "Event"),
        ("Event | where a == 'x' | render piechart // chart", "Event | where a == 'x'"),
        ("Event | where Computer == '| render x'", "Event | where Computer == '| render x'"),
        ("Event | project render", "Event | project render"),
        ("Event | where a in ((T | take 5)) | render table", "Event | where a in ((T | take 5))"),
        ("let a = Event | render table; a", "let a = Event | render table; a"),
        ("Event", "Event"),
    ],
)
def test_a_chart_at_the_end_is_left_off(text: str, left: str) -> None:
    """It says how rows are shown, not which; and nothing can be put after it."""
    assert kql.without_render(text) == left
