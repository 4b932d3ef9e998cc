"""Saved queries: files become queries with parameters; a wrong file is named and disables itself only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.errors import BadRequestError
from shared.saved_queries import Declared, SavedQueries, SavedQuery, load
from tests.kusto_parser import diagnostics

FAILED = """\
// Failed sign-ins of a user.
//   The newest come first.

// Not part of the description.
declare query_parameters(user: string, since: timespan = 1d, // how far back
    most:long=long(10), kinds:dynamic = dynamic(["a", {"b": ")"}]), note:string = 'it\\'s; "x"');
SigninLogs
| where User == user and T > ago(since) and Kind in (kinds) // why
| take most;
"""
TABLES = {"SigninLogs": {"User": "string", "T": "datetime", "Kind": "string"}}

Save = Callable[..., SavedQueries]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write files into a folder of queries, and load it."""

    def save(**files: str | bytes) -> SavedQueries:
        folder = tmp_path / "my queries"
        folder.mkdir()
        for name, text in files.items():
            content = text.encode() if isinstance(text, str) else text
            (folder / f"{name.replace('_', '-')}.kql").write_bytes(content)
        return load(folder)

    return save


def only(saved: SavedQueries) -> SavedQuery:
    """Return the one query that was loaded without a problem."""
    assert saved.problems == ()
    (query,) = saved.queries.values()
    return query


def filled(query: SavedQuery, values: dict[str, Any]) -> str:
    """Return the KQL that some values make of a query."""
    return query.constants(values) + query.text


def refused(query: SavedQuery, values: dict[str, Any]) -> tuple[str, str]:
    """Return the field and the message of a refusal."""
    with pytest.raises(BadRequestError) as caught:
        filled(query, values)
    return caught.value.field, str(caught.value)


def test_a_file_is_read(save: Save) -> None:
    """Its first comment describes it, and its declaration becomes parameters."""
    query = only(save(failed_sign_ins=FAILED))
    assert query.name == "failed-sign-ins"
    assert query.description == "Failed sign-ins of a user.\nThe newest come first."
    assert query.parameters == (
        Declared("user", "string"),
        Declared("since", "timespan", "1d", "timespan(1.00:00:00.0000000)"),
        Declared("most", "long", "long(10)", "long(10)"),
        Declared("kinds", "dynamic", 'dynamic(["a", {"b": ")"}])', 'dynamic(["a",{"b":")"}])'),
        Declared("note", "string", "'it\\'s; \"x\"'", "'it\\'s; \"x\"'"),
    )
    assert query.text.startswith("SigninLogs\n")


def test_values_and_defaults_are_declared(save: Save) -> None:
    """What the caller gives, plain or typed, and else the default comes first; together they are KQL."""
    query = only(save(failed=FAILED))
    text = filled(query, {"user": "o'neil", "most": {"type": "long", "value": "5"}, "since": "90m"})
    assert text == (
        "let user = 'o\\'neil';\n"
        "let since = timespan(0.01:30:00.0000000);\n"
        "let most = long(5);\n"
        'let kinds = dynamic(["a",{"b":")"}]);\n'
        "let note = 'it\\'s; \"x\"';\n" + query.text
    )
    assert diagnostics(text, TABLES) == []


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({}, "parameters.user", "needs a string"),
        ({"user": "x", "User": "y"}, "parameters.User", "it has: user, since, most, kinds, note"),
        ({"user": 5}, "parameters.user", "expected a string"),
        ({"user": None}, "parameters.user", "expected a string"),
        ({"user": {"type": "long", "value": 5}}, "parameters.user", "declares the type string, not 'long'"),
        ({"user": "x", "most": "many"}, "parameters.most", "not a value of type long"),
        ({"user": "x", "since": 5}, "parameters.since", "not a value of type timespan"),
        ({"user": {"type": "x" * 900_000, "value": 5}}, "parameters.user", f"not '{'x' * 64}'"),
        ({"user": "x", "x" * 100: 5}, "parameters." + "x" * 64, "no such parameter"),
    ],
)
def test_a_wrong_value_is_refused(save: Save, values: dict[str, Any], field: str, said: str) -> None:
    """The answer names the parameter, and what the query expects."""
    found, message = refused(only(save(failed=FAILED)), values)
    assert found == field
    assert said in message


def test_every_wrong_value_is_named_at_once(save: Save) -> None:
    """Whoever makes several mistakes learns of all of them from one answer, but of no endless list."""
    query = only(save(failed=FAILED))
    with pytest.raises(BadRequestError) as caught:
        filled(query, {"most": "many", "other": 1})
    assert [field for field, _ in caught.value.mistakes] == [
        "parameters.user", "parameters.most", "parameters.other",
    ]  # fmt: skip
    with pytest.raises(BadRequestError) as caught:
        filled(query, {f"x{number}": 1 for number in range(1000)})
    assert len(caught.value.mistakes) == 20


def test_a_dynamic_parameter_takes_any_json(save: Save) -> None:
    """An object is a value of its own where the type is declared; null is the type's null."""
    query = only(save(q="declare query_parameters(d: dynamic); print d"))
    assert filled(query, {"d": {"type": "x"}}) == 'let d = dynamic({"type":"x"});\nprint d'
    assert filled(query, {"d": {"type": "dynamic", "value": 5}}) == "let d = dynamic(5);\nprint d"
    assert filled(query, {"d": None}) == "let d = dynamic(null);\nprint d"


@pytest.mark.parametrize(
    ("declared", "literal"),
    [
        ("x:string = @'c:\\'", "'c:\\\\'"),
        ("x:string=''", "''"),
        ("x:bool = true", "true"),
        ("x:bool = bool(false)", "false"),
        ("x:int = 5", "int(5)"),
        ("x:int = -5", "int(-5)"),
        ("x:int = int(null)", "int(null)"),
        ("x:long = 5", "long(5)"),
        ("x:real = 1.5e3", "real(1500.0)"),
        ("x:real = real(nan)", "real(nan)"),
        ("x:decimal = decimal(0.1)", "decimal(0.1)"),
        ("x:datetime = datetime(2026-11-21)", "datetime(2026-11-21T00:00:00.0000000Z)"),
        ("x:datetime = datetime(2026-11-21 10:00:00.5)", "datetime(2026-11-21T10:00:00.5000000Z)"),
        ("x:timespan = -1h", "-timespan(0.01:00:00.0000000)"),
        ("x:timespan = timespan(1.02:03:04)", "timespan(1.02:03:04.0000000)"),
        (
            "x:guid = guid(12345678-1234-1234-1234-123456789ABC)",
            "guid(12345678-1234-1234-1234-123456789abc)",
        ),
        ("x:dynamic = dynamic(null)", "dynamic(null)"),
        ("x : dynamic\n=\ndynamic( {'a': 1} )", None),
        ('x : dynamic\n=\ndynamic( {"a": [1]} )', 'dynamic({"a":[1]})'),
    ],
)
def test_a_default_is_a_literal_of_its_type(save: Save, declared: str, literal: str | None) -> None:
    """Every type's literals are understood; what is JSON for Kusto only is refused."""
    saved = save(q=f"declare query_parameters({declared}); print x")
    if literal is None:
        assert saved.queries == {}
    else:
        text = filled(only(saved), {})
        assert text == f"let x = {literal};\nprint x"
        assert diagnostics(text) == []


def test_files_may_have_no_parameters_and_no_comment(save: Save) -> None:
    """The smallest file is a query; line ends and a byte order mark do not matter."""
    saved = save(small="Event", windows=b"\xef\xbb\xbf// What\r\n// it is\r\n\r\nEvent\r\n| take 5\r\n")
    assert saved.problems == ()
    assert saved.queries["small"] == SavedQuery("small", "", (), "Event")
    assert saved.queries["windows"] == SavedQuery("windows", "What\nit is", (), "Event\n| take 5")
    assert filled(saved.queries["small"], {}) == "Event"
    assert refused(saved.queries["small"], {"x": 1})[1].endswith("it has: none")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"Event | where A == '\xff'", "invalid start byte"),
        ("Event | where A == 'x", "does not end"),
        ("", "no query"),
        ("// only words", "no query"),
        ("declare query_parameters(x: long);", "no query"),
        ("declare query_parameters(x: long); ;", "no query"),
        ("declare query_parameters(x: long) print x", "another form"),
        ("declare query_parameters x; print x", "another form"),
        ("declare query_parameters(); print 1", "nothing"),
        ("declare query_parameters(x: long,); print x", "nothing"),
        ("declare query_parameters(x); print x", "'x'"),
        ("declare query_parameters(x long); print x", "'x long'"),
        ("declare query_parameters(x: long =); print x", "'x: long ='"),
        ("declare query_parameters(x: long 5); print x", "'x: long 5'"),
        ("declare query_parameters(x: text); print x", "'x: text'"),
        ("declare query_parameters(x: long, x: int); print x", "twice"),
        ("declare query_parameters(where: long); print 1", "'where: long'"),
        ("declare query_parameters(['a b']: long); print 1", "['a b']"),
        ("declare query_parameters(x: long = 'a'); print x", "x: long = 'a'"),
        ("declare query_parameters(x: long = 5 + 5); print x", "'x: long = 5 + 5'"),
        ("declare query_parameters(x: long = now()); print x", "now()"),
        ("declare query_parameters(x: int = long(5)); print x", "long(5)"),
        ("declare query_parameters(x: string = 5); print x", "'x: string = 5'"),
        ("declare query_parameters(x: string = string(null)); print x", "string(null)"),
        ("declare query_parameters(x: dynamic = [1]); print x", "[1]"),
        ("declare query_parameters(x: datetime = datetime(soon)); print x", "soon"),
        ("let y = 1; declare query_parameters(x: long); print x", "after the query's begin"),
        ("declare query_parameters(x: long); declare query_parameters(y: long); print x", "a second"),
        (
            "declare query_parameters(" + ",".join(f"x{n}: long" for n in range(101)) + "); T",
            "101 parameters",
        ),
    ],
)
def test_a_wrong_file_disables_itself_only(save: Save, text: str | bytes, found: str) -> None:
    """The problem names the file, what was found and what was expected; its neighbours are there."""
    saved = save(wrong=text, right="Event")
    assert set(saved.queries) == {"right"}
    (problem,) = saved.problems
    assert problem.where == "my queries/wrong.kql"
    assert found in problem.found
    assert problem.expected != ""


@pytest.mark.parametrize(
    "name",
    [
        "Upper.kql",
        "a b.kql",
        "-a.kql",
        "ä.kql",
        "0123456789abcdef" * 2 + ".kql",
        "a" * 64 + ".kql",
        "a.KQL",
        ".kql",
    ],
)
def test_a_wrong_name_is_a_problem(tmp_path: Path, name: str) -> None:
    """A name can stand in a URL, and is never taken for the id of a query that runs."""
    (tmp_path / name).write_text("Event", "utf-8")
    saved = load(tmp_path)
    assert saved.queries == {}
    if name != ".kql":  # a file without a suffix
        assert name in saved.problems[0].where


def test_other_files_are_not_read(tmp_path: Path) -> None:
    """A README beside the queries is none; a folder that ends like one is a problem."""
    (tmp_path / "README.md").write_text("words", "utf-8")
    (tmp_path / "x.kql").mkdir()
    saved = load(tmp_path)
    assert saved.queries == {}
    assert [problem.where for problem in saved.problems] == [f"{tmp_path.name}/x.kql"]


def test_no_folder_is_no_saved_queries(tmp_path: Path) -> None:
    """A deployment without saved queries needs nothing."""
    assert load(tmp_path / "queries") == SavedQueries({}, ())
