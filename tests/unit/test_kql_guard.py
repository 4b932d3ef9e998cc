"""The guard refuses every way out of the workspace that is known, and lets ordinary queries through."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared import kql
from shared.errors import BadRequestError
from shared.kql_guard import ALLOWABLE, check
from tests.kusto_parser import plugins, structures

NOTHING: frozenset[str] = frozenset()
CALLS = sorted(ALLOWABLE - {"set", "externaldata"})
LOCAL_PLUGINS = [
    "bag_unpack", "pivot", "narrow", "autocluster",
    "basket", "diffpatterns", "sequence_detect", "session_count",
    "sliding_window_counts", "rolling_percentile", "activity_counts_metrics", "activity_engagement",
    "activity_metrics", "active_users_count", "new_activity_metrics", "dcount_intersect", "ipv4_lookup",
    "ipv6_lookup", "preview", "funnel_sequence", "funnel_sequence_completion", "geo_line_lookup",
    "geo_polygon_lookup", "rows_near", "estimate_rows_count",
]  # fmt: skip
GUID = "12345678-1234-1234-1234-123456789abc"


def refusal(text: str, allowed: frozenset[str] = NOTHING) -> str:
    """Return why a query is refused; "" for one that is not."""
    try:
        check(text, allowed)
    except BadRequestError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "form",
    [
        "{0}('x').T",
        "union T, {0} ('x').T",
        "T | join kind=inner ({0}\t(\n'x').T) on A",
        "find in ({0}('x').T) where A == 1",
        "search in ({0}('x').T) 'a'",
        "let w = () {{ {0}('x').T }}; w()",
        "let w = (a:string) {{ {0}(a) }}; w('x')",
        "let w = materialize({0}('x').T); w | count",
        "T | where A in ({0}('x').T)",
        "T | extend A = toscalar({0}('x').T | count)",
        "T | invoke {0}('x')",
        "T | join {{{0}('x').T}} on A",
        "{0}// why\n('x').T",
        "{0} // ('\n // ')\n ('x').T",
        "T | evaluate {0}('x')",
        "T | where A == 'it\\'s' | union ({0}('x').T)",
        "T | where A == @'c:\\' | union ({0}('x').T)",
        "T | where A == ```'``` | union ({0}('x').T)",
        "T | where A between (1..{0}('x'))",
        "T | where A between (1d..{0}('x'))",
        "T | fork ({0}('x').T) (take 1)",
        "T | as X; {0}('x').T",
        "print 5*{0}('x')",
        "print -{0}('x')",
        "print dynamic({{'a': 1}}), {0}('x')",
        "T | lookup ({0}('x').T) on A",
        "T | mv-apply A on ({0}('x').T)",
        "T | partition by A ({0}('x').T)",
        "T | partition by A {{{0}('x').T}}",
        "T.{0}('x')",
    ],
)
def test_a_call_of_what_is_elsewhere_is_refused(name: str, form: str) -> None:
    """Wherever the call stands, in any letter case, whatever stands between the name and its bracket."""
    for spelling in (name, name.upper(), name.capitalize()):
        said = refusal(form.format(spelling))
        assert f"{spelling}(…) at character {form.format('$').index('$') + 1} is refused" in said
        assert f"QUERY_ALLOW permits it as {name!r}" in said


@pytest.mark.parametrize("name", CALLS)
def test_an_allowed_name_may_be_called(name: str) -> None:
    """QUERY_ALLOW permits the very name it holds, also as a plugin, and no other."""
    for text in (f"{name}('x').T", f"T | evaluate {name}('x')"):
        assert refusal(text, frozenset({name})) == ""
        assert refusal(text, ALLOWABLE - {name}) != ""


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("externaldata(A: string) ['https://x/y']", "externaldata"),
        ("external_data (A: string) ['https://x/y'] with (format='csv')", "externaldata"),
        ("let x = ExternalData(A: string) ['https://x/y']; x", "externaldata"),
        ("inline_external_table(A: string) kind=storage ('https://x')", "externaldata"),
        ("set notruncation; T", "set"),
        ("SET truncationmaxrecords = 5; T", "set"),
        ("set query_datetimescope_column = 'A'; set servertimeout = 1h; T", "set"),
        ("let x = 5; set notruncation; T", "set"),
        (";; /// \n set\nnotruncation; T", "set"),
        ("T; set notruncation", "set"),
        ("let f = () { set notruncation; T }; f()", "set"),
        ("let f = () { let x = 1; set notruncation; T }; f()", "set"),
    ],
)
def test_what_else_a_setting_may_allow(text: str, entry: str) -> None:
    """Data from a URL and options are refused, unless the setting holds their entry."""
    assert f"permits it as {entry!r}" in refusal(text)
    assert f"permits it as {entry!r}" not in refusal(text, frozenset({entry}))


@pytest.mark.parametrize(
    "text",
    [
        # Statements and commands.
        "declare query_parameters(x: long = 1); T",
        "declare pattern app = (a: string)[b: string] { ('x').['y'] = { T } }; app('x').['y']",
        "alias database d = cluster('x').database('y'); database('d').T",
        "ALIAS database d = 5; T",
        "restrict access to (T); T",
        "let f = () { declare query_parameters(x: long); T }; f()",
        ".show tables",
        "  // a comment\n\t.drop table T",
        "let x = 5; .show tables",
        "T; .show tables",
        ".set X <| T",
        "T <| U",
        "#connect 'x'\nT",
        "T | where A == 1 # a directive",
        "T; U",
        "T;; U; ",
        "print 1; let x = 5;",
        "LET x = 1; T",
        "let f = () { T; U }; f()",
        # Groups of sources, and what is internal.
        "macro-expand entity_group [cluster('x').database('y')] as X (X.T)",
        "macro-expand Stored as X (X.T)",
        "MACRO-EXPAND Stored as X (X.T)",
        "let g = entity_group [T]; T",
        "union __crossCluster=true T",
        "union __crossDB=true T",
        "T | __executeAndCache",
        "__invoke('workspace', 'x')",
        # A name that is quoted, in every way to write it.
        "['workspace']('x').T",
        '["workspace"]("x").T',
        "['work' 'space']('x').T",
        "['\\u0077orkspace']('x').T",
        "['\\x77orkspace']('x').T",
        "['\\167orkspace']('x').T",
        "[@'workspace']('x').T",
        "[```workspace```]('x').T",
        "[h'workspace']('x').T",
        "[ 'workspace' ] // why\n ('x').T",
        "T | invoke ['f']('x')",
        "T | evaluate ['http_request']('x')",
        # Plugins.
        "evaluate",
        "T | evaluate no_such_plugin(A)",
        "T | evaluate hint.distribution=per_node no_such_plugin(A)",
        "T | evaluate hint.distribution = per_node hint.pass_filters = true no_such_plugin(A)",
        "T | evaluate hint.a=bag_unpack (A)",
        "T | evaluate hint.bag_unpack(A)",
        "T | evaluate bag_unpack | http (A)",
        "T | evaluate decodeblocks=true bag_unpack(A)",
        "T | EVALUATE no_such_plugin(A)",
        "T | project evaluate",
        # Where one reader may see a string, a comment or a literal, and another may not.
        "print datetime(') + workspace('), ('x')",
        "print datetime(//) , workspace('x')\n)",
        'print long("), f("x")',
        "print datetime(`) , f(`)",
        "print real('1' '2')",
        "print guid('a\\')",
        "print time(\n1d)",
        "print typeof('), f('x')",
        "print 1 typeof(macro-expand  )",
        "print datetime( externaldata )",
        "print datetime (2026-11-21 // )\n)",
        "print int(f(5))",
        "print LONG(') + f('x')",
        "print bool(",
        "T | where A in~~~~~~ x ~~~ f('x') ~~~",
        "print x =~~~a~~~",
        "print ~~~a~~~",
        "print h~~~a~~~",
        "print @```a```",
        "print @ 'a'",
        "print ````a````",
        "print h@```a```",
        "print '\\/'",
        "print '\\d+'",
        "print '\\u12'",
        "print '\\x4'",
        "print '\\8'",
        "print 'a\\\n' , f('x')",
        "T /* ' */ | union f('x') /* ' */",
        "T /* x */",
        "print 'abc",
        'print "abc\n"',
        "print ```abc",
        "print @'abc\n'",
        "print 1.workspace('x')",
        "print 1.e5workspace('x')",
        "print 1.5dworkspace('x')",
        "print 1.5workspace('x')",
        "print 1e+5workspace('x')",
        "print 1workspace('x')",
        "print 5('x')",
        f"print {GUID}workspace('x')",
        f"print {GUID}5('x')",
        f"print {GUID}('x')",
        "print abcdef12-1234-1234-1234-123456789abcworkspace('x')",
        "print a$workspace('x')",
        "print $workspace('x')",
        "print $left$right",
        "print a ? b",
        "print a & b",
        "print \\",
        "print `a`",
        # SQL, and what is text to one reader and a comment to another.
        "--\nSELECT * FROM a.b.T",
        "--\nEXEC sp_execute_kql 'workspace(''x'').T'",
        "--\n-- ```\nDECLARE @__kql_set_notruncation bit = 1;\nSELECT * FROM cluster('x').T\n-- ```",
        "T\n  --\nSELECT * FROM T",
        "let x = 5;--\nSELECT * FROM T",
        "-1",
        "EXPLAIN SELECT * FROM T",
        "select * from T",
        "let x = 5; exec p",
        "execute p",
        "with x as (T) x",
        # Brackets.
        "T | where (A",
        "T | where A)",
        "T | where (A]",
        "T | where f(A; declare x)",
        "print x[1",
        "let f = () { T ",
        # Characters.
        "T | where\u00a0A == 1",
        "T\u200b | take 1",
        "\ufeffT",
        "größe | take 1",
        "wоrkspace('x')",  # a Cyrillic o
        "workspace\uff08'x'\uff09",
        "T | take ١",
        "T\x00 | take 1",
        "T\x0c | take 1",
        "T\x1b | take 1",
        "T // a\rworkspace('x')",
        "T // a\x0bworkspace('x')",
        "T // a\x0c | take 1",
        "T // a\x1c | take 1",
        "T // a\x1d | take 1",
        "T // a\x1e | take 1",
        "T // a\x85workspace('x')",
        "T // a\u2028workspace('x')",
        "T // a\u2029workspace('x')",
        "T // a\x00\nworkspace('x')",
        "print 'a\u2028b'",
        "print ```a\rb```",
        "print 'a\x00b'",
        "print '\ud83d'",
    ],
)
def test_a_way_around_is_refused(text: str) -> None:
    """No setting permits these: they are never needed, or two readers of KQL could take them differently."""
    said = refusal(text, ALLOWABLE)
    assert said != ""
    assert "permits it" not in said


@pytest.mark.parametrize(
    "text",
    [
        "",
        "// nothing",
        "Event",
        "Event;",
        "\r\n\tEvent\r\n| take 5;\r\n// done\r\n",
        "Event | where Resource == 'x' and app != 'y' | summarize count() by app, cluster",
        "Event | project database, resource, workspace, Resource, python, declare",
        "Event | where Resource in ('x', 'y') and resource !in~ ('z') and app has ('a')",
        "SecurityEvent | where resource has (\"a\") or workspace has_any ('a', 'b')",
        "search 'a' | summarize count() by $table | extend A = 1 - -1",
        "print a = ```\n--\n```, b = 1 // \n  // --",
        "app | join kind=inner Resource on $left.cluster == $right.database",
        "union app, database, (Resource | take 1) | summarize by Resource",
        "Event | where Computer == 'workspace(\"x\")' // workspace('x')",
        'Event | where A == "cluster(\'x\')" or B == @\'database("x")\' or C == ```externaldata(x)```',
        "Event | where A == h'secret' or B == H\"x\" or C == h@'\\'",
        "Event | where A matches regex @'\\d+\\.\\d+' and B == 'it\\'s \\\\ \\u00e9 \\x41 \\101 \\n'",
        "Event | where A == 'größe ☕' // größe ☕",
        "['my table'] | project ['my column'], [\"other\"], d['k'][0], d.k, d[-1]",
        "let x = 5; let y = 'a;b'; Event | take x;",
        "let f = (T: (a: long), x: datetime = datetime(2026-01-01)) { let z = 1; T | where a > z; }; f(E)",
        "let v = view () { Event }; v | count",
        "print datetime(2026-11-21T10:00:00.1234567Z), datetime(2026-11-21 10:00), datetime('2026-11-21')",
        "print datetime(11/21/2026), long(null), int( -5 ), real(+inf), time(1.02:03:04.5), 0x1F, 1.5, 2e10",
        f"print timespan('1.00:00:00'), decimal(1.5e3), bool(true), 1.5E-3, guid({GUID})",
        "print dynamic({'a': [1, -2.5, null, true], \"b\": {}}), dynamic(null)",
        "Event | where A between (1 .. 5) and B between(1..5) and T between (ago(1d)..now()) and x > 1.5h",
        "Event | where T > ago(7d) | summarize count() by bin(T, 15min), 1st_CL",
        "Event | evaluate bag_unpack(Payload)",
        "Event | evaluate hint.distribution=per_node hint.pass_filters=true pivot(A) : (x: long)",
        "Event | parse A with 'a' B:long 'b' * | parse-kv C as (k: string) with (pair_delimiter=';')",
        "Event | mv-expand Item = Payload.items to typeof(string) limit 5",
        "Event | mv-apply a = Payload on (where a > 1 | take 1)",
        "Event | make-series n = count() on T from ago(1d) to now() step 1h by app",
        "Event | scan declare (x: long = 0) with (step s: true => x = 1;)",
        "Event | partition hint.strategy=native by Computer (top 1 by T)",
        "Event | make-graph a --> b with X on c | graph-match (n)-[e*1..5]->(m)-[f]-(o) project x",
        "datatable(A: string, B: datetime) ['x', datetime(2026-01-01), 'y', datetime(null)]",
        "range x from 1 to 10 step 1 | extend y = x % 2, z = -x / 3 * (x + 1), w = x<>y, v = x=~'a'",
        "search in (Event, app) 'workspace(' | count",
        "find in (Event, app) where Computer == 'x' project Computer, pack(*)",
        "table('Event') | union materialized_view('x') | count",
        "_GetWatchlist('x') | project Python, r, R, Csharp",
        "union withsource=Source Event*, app* | count",
        "Event | where Time > ago(1h) | sort by Time desc nulls last | project-away Date, guid",
        "toscalar(Event | count)",
        "(Event | take 1)",
        "Event | render timechart with (title='a;b', kind=stacked)",
    ],
)  # fmt: skip
def test_an_ordinary_query_passes(text: str) -> None:
    """Columns and tables may be named as functions are, and strings and comments hold what they like."""
    assert refusal(text) == ""
    assert not structures([text])[0].errors


@pytest.mark.parametrize("name", LOCAL_PLUGINS)
def test_a_local_plugin_may_be_evaluated(name: str) -> None:
    """Plugins that only compute need no setting."""
    assert refusal(f"Event | evaluate {name}(A)") == ""
    assert refusal(f"evaluate hint.remote=local\n{name} (A)") == ""


def test_every_plugin_of_kusto_has_been_thought_of() -> None:
    """Of the plugins that Microsoft's parser knows, those tested here pass and all others are refused."""
    known = plugins()
    assert len(known) > 40
    passing = {name for name in known if refusal(f"T | evaluate {name}(A)") == ""}
    assert passing == set(LOCAL_PLUGINS)


def test_a_message_says_what_where_why_and_what_to_do() -> None:
    """Whoever is refused can mend the query, or ask for the right setting."""
    assert refusal("T\n| union Workspace ('x').T") == (
        "query: Workspace(…) at character 11 is refused: it reads data of another workspace, resource or"
        " cluster (the setting QUERY_ALLOW permits it as 'workspace')"
    )


@pytest.mark.parametrize(
    "text",
    [
        "print long(" + " " * 200_000,
        "print long('" + " " * 200_000 + "'",
        "print " + "long(1), " * 20_000 + "1",
        "T" + " | evaluate pivot(a)" * 20_000,
        "(" * 200_000,
        "'" + "a" * 200_000,
        "@'" + "''" * 100_000,
        "// " * 100_000,
        " " * 200_000 + "\x0c",
        "1" * 200_000,
        "`" * 200_001,
    ],
    ids=range(11),
)
def test_a_long_text_takes_no_long_time(text: str) -> None:
    """Time grows with the length and not with its square: nobody can stop the app with one request."""
    begin = time.process_time()
    assert len(refusal(text)) < 400
    assert time.process_time() - begin < 5


STRINGS = [
    "'a'", '"a"', "''", '""', "'it\\'s'", "'a\\\\'",
    '"\\""', "'//'", "@'a\\'", "@'it''s'", '@"a""b"', "h'x'", "H\"y\"",
    "h@'\\'", "```a'b\n```", "```//```", "h```x```",
    "'\\u0077\\x41\\101'", "'(' ", "')'", "'workspace('", "'~~~'",
    "'\\/'", "'\\u1'", "@```x```", "~~~a~~~", "~~~'~~~", "~~", "~", "`", "'", '"', "@", "h", "\\",
]  # fmt: skip
COMMENTS = [
    "//\n",
    "// it's\n",
    '// "x\r\n',
    "//```\n",
    "// workspace(\n",
    "/",
    "/*",
    "*/",
    "//",
    "#",
    "\r",
    "// a\u2028",
]
WORDS = [
    "T", "a", "where", "in~", "=~", "!~", "=~~",
    "project-away", "mv-expand", "print", "count", "ah", "by", "app",
    "resource", "set", "1", "1.", "1..2", "1.5", "1e5", "1.e5",
    "5d", "1.5d", "0x1F", "1st", ".", "..", "$left", "$",
    GUID, "datetime(", "long(", "long (", "typeof(",
    "real(", "time(1d)", "datetime(2026-11-21)", "dynamic(", "guid(",
    "-", "=", "==", "<", "|", ",", "|", "%", "*", "<>", "!",
]  # fmt: skip
BRACKETS = ["(", ")", "()", "[", "]", "{", "}", "(a)", "[0]", "['a']", "{}", ";", "|", "take 1", "x ", " y"]
NAMES = [
    "workspace", "Cluster", "DATABASE", "app",
    "arg", "adx ", "external_table", "evaluate ", "evaluate bag_unpack",
    "evaluate hint.a=b ", "http_request", "python",
    "['workspace']", "['work' 'space']", "externaldata", "set x;",
    "declare ", "alias database d=T;", "restrict access to", ".show tables",
    ";.show", ";set a;", "let a=1;", "{set a;",
    "macro-expand ", "entity_group ", "as X ", "#x\n", "invoke ",
    "union ", "('x')", "(('x')", "('x').T", "T | ",
]  # fmt: skip
SPACES = ["", "", "", " ", " ", " ", "\n", "\t", "\r\n"]

STATEMENTS = {
    "AliasStatement", "PatternStatement",
    "QueryParametersStatement", "RestrictStatement", "SetOptionStatement",
}  # fmt: skip


BEGINS = [
    "",
    "",
    "print ",
    "print a = ",
    "T | where a in (",
    "let f = () { ",
    "let a = 1; ",
    "T | union (",
    "f(",
]
ENDS = [
    "",
    "",
    ")",
    " }; T",
    " | take 1",
    "; T",
    ", 'a')",
    ", cluster('x')",
    "\nworkspace('x')",
    "') ~~~ ```",
]
"""What may make a composition right, and calls that only a string or a comment can hide."""

seeds = st.integers(0, 2**32)


def compositions(seed: int, *pieces: list[str]) -> list[str]:
    """Return a batch of texts, each of some pieces and spaces; a batch is one question to the parser."""
    draw = random.Random(seed)  # noqa: S311 (test data; Hypothesis gives the seed)
    flat = [piece for some in pieces for piece in some]
    return [
        draw.choice(BEGINS)
        + "".join(draw.choice(flat) + draw.choice(SPACES) for _ in range(draw.randint(1, 6)))
        + draw.choice(ENDS)
        for _ in range(500)
    ]


def accepted(texts: list[str]) -> list[str]:
    """Return the texts that the guard lets through."""
    return [text for text in texts if refusal(text) == ""]


@settings(max_examples=40)
@given(seeds)
def test_what_passes_has_the_tokens_that_microsofts_lexer_sees(seed: int) -> None:
    """Each token of Microsoft's lexer begins and ends where one here does, and strings are the same."""
    passed = accepted(compositions(seed, STRINGS, COMMENTS, WORDS, BRACKETS))
    for text, structure in zip(passed, structures(passed), strict=True):
        ours = list(kql.tokens(text))
        begins, ends = {token.start for token in ours}, {token.end for token in ours}
        strings = {(token.start, token.end) for token in ours if token.kind == "string"}
        for start, end, kind in structure.tokens:
            assert start in begins, text
            assert end in ends, text
            assert (kind == "StringLiteralToken") == ((start, end) in strings), text
            if kind.endswith("LiteralToken"):
                strings -= {each for each in strings if start <= each[0] and each[1] <= end}
        assert strings == set(), text


@settings(max_examples=40)
@given(seeds)
@example(134217729)  # typeof(macro-expand  )
def test_what_passes_has_no_way_out_in_microsofts_syntax_tree(seed: int) -> None:
    """No call, statement or source that is refused is found by Microsoft's parser in what passed."""
    passed = accepted(compositions(seed, NAMES, NAMES, STRINGS, COMMENTS, WORDS, BRACKETS))
    for text, structure in zip(passed, structures(passed), strict=True):
        for kind, name in structure.nodes:
            if kind == "FunctionCallExpression":
                assert name.lower() not in ALLOWABLE, text
            # The parser carries on after a syntax error, and so finds statements where no `;` is.
            assert structure.errors or kind not in STATEMENTS, text
            assert not kind.startswith(("External", "InlineExternal", "MacroExpand", "EntityGroup")), text
            assert "Directive" not in kind, text
            assert "Command" not in kind, text


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("T | union workspace // x\n ('x').T", ("FunctionCallExpression", "workspace")),
        ("['work' 'space']('x')", ("FunctionCallExpression", "workspace")),
        ("print datetime(') , workspace('y') ('", ("FunctionCallExpression", "workspace")),
        ("T | evaluate http_request('x')", ("FunctionCallExpression", "http_request")),
        ("set notruncation; T", ("SetOptionStatement", "notruncation")),
        ("externaldata(a: string) ['x']", ("ExternalDataExpression", "")),
        ("macro-expand entity_group [T] as X (X)", ("MacroExpandOperator", "")),
        (".show tables", ("CommandBlock", "")),
        ("#x\nT", ("Directive", "")),
    ],
)
def test_the_parser_finds_what_the_guard_is_held_against(text: str, node: tuple[str, str]) -> None:
    """The syntax tree does show each way out; else the test above would pass with any guard."""
    assert node in structures([text])[0].nodes
    assert refusal(text) != ""
