"""The app settings of on-demand queries: their defaults and bounds, and who may be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.formats import FORMATS
from shared.kql_guard import ALLOWABLE
from shared.query_settings import QuerySettings
from shared.settings import load_settings
from shared.sources import SOURCES
from tests.unit.test_settings import CONNECTION, load, problems

__all__ = ["load"]  # a fixture

ONE, TWO, THREE = (f"{number * 8}-0000-0000-0000-00000000000a" for number in "123")


def test_defaults(load: Any) -> None:
    """Callers may write KQL of their own, within the guard; nothing is asked where no workspace is named."""
    settings = load().queries
    assert settings == QuerySettings(folder=settings.folder)
    assert settings.folder.name == "queries"
    assert (settings.enabled, settings.free_text, settings.signed_in) == (True, True, False)
    assert (settings.workspaces, settings.allowed) == ({}, frozenset())
    assert (settings.inline_rows, settings.inline_bytes) == (10_000, 8 << 20)
    assert (settings.rows, settings.bytes, settings.days, settings.seconds) == (5_000_000, 1 << 30, 366, 480)
    assert (settings.concurrent, settings.pending, settings.result_days) == (2, 20, 7)


def test_every_setting_is_read(load: Any) -> None:
    """Each has its own name; megabytes become bytes."""
    settings = load(
        QUERY_ENABLED="false",
        QUERY_FREE_TEXT="False",
        QUERY_ALLOW=" workspace , externaldata,SET,",
        QUERY_INLINE_ROWS="1",
        QUERY_INLINE_MB="2",
        QUERY_MAX_CONCURRENT="3",
        QUERY_MAX_PENDING="4",
        QUERY_MAX_ROWS="1000000000",
        QUERY_MAX_MB="6",
        QUERY_MAX_DAYS="7",
        QUERY_MAX_SECONDS="8",
        QUERY_RESULT_DAYS="9",
    ).queries
    assert settings == QuerySettings(
        folder=settings.folder,
        enabled=False,
        free_text=False,
        allowed=frozenset({"workspace", "externaldata", "set"}),
        inline_rows=1,
        inline_bytes=2 << 20,
        concurrent=3,
        pending=4,
        rows=10**9,
        bytes=6 << 20,
        days=7,
        seconds=8,
        result_days=9,
    )


def test_everything_that_the_guard_refuses_by_name_may_be_allowed(load: Any) -> None:
    """The setting takes each name of the guard's, and no other."""
    assert load(QUERY_ALLOW=",".join(ALLOWABLE)).queries.allowed == ALLOWABLE


@pytest.mark.parametrize(
    ("text", "yes"), [("True", True), ("False", False), ("true", True), ("1", False), (None, False)]
)
def test_only_app_service_says_that_callers_are_signed_in(load: Any, text: str | None, yes: bool) -> None:
    """It sets ``WEBSITE_AUTH_ENABLED`` where it authenticates callers; headers alone prove nothing."""
    assert load(WEBSITE_AUTH_ENABLED=text).queries.signed_in is yes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("QUERY_ENABLED", "no"),
        ("QUERY_FREE_TEXT", "0"),
        ("QUERY_ALLOW", "workspace, everything"),
        ("QUERY_ALLOW", "*"),
        ("QUERY_INLINE_ROWS", "0"),
        ("QUERY_INLINE_ROWS", "500001"),
        ("QUERY_INLINE_MB", "65"),
        ("QUERY_MAX_CONCURRENT", "1000"),
        ("QUERY_MAX_PENDING", "-1"),
        ("QUERY_MAX_ROWS", "1000000001"),
        ("QUERY_MAX_ROWS", "1e6"),
        ("QUERY_MAX_ROWS", "9" * 5000),
        ("QUERY_MAX_MB", "100001"),
        ("QUERY_MAX_DAYS", "36501"),
        ("QUERY_MAX_DAYS", "٧"),
        ("QUERY_MAX_SECONDS", "481"),
        ("QUERY_RESULT_DAYS", "many"),
        ("QUERY_WORKSPACES", ONE),
        ("QUERY_WORKSPACES", f"lab={ONE}; prod={TWO}"),
        ("QUERY_WORKSPACES", "lab=12345"),
        ("QUERY_WORKSPACES", f"={ONE}"),
        ("QUERY_WORKSPACES", f"a b={ONE}"),
        ("QUERY_WORKSPACES", f"lab={ONE},lab={TWO}"),
        ("QUERY_WORKSPACES", f"lab={ONE},Lab={TWO}"),
        ("QUERY_WORKSPACES", f"default={ONE}"),
    ],
)
def test_a_wrong_setting_is_named(load: Any, name: str, text: str) -> None:
    """Whoever runs the app learns which setting is wrong and what belongs there."""
    found = problems(load, **{name: text})
    assert list(found) == [name]
    assert "; expected " in found[name]


def test_who_may_be_asked(tmp_path: Path) -> None:
    """The default workspace first, then the named ones, then those of exports, which go by their ID."""
    export = '[[export]]\nsource = "log_analytics"\ntable = "Event"\nwindow = "1h"\nstart = "-1d"\n'
    (tmp_path / "exports.toml").write_text(
        f'{export}name = "a"\nworkspace = "{THREE.upper()}"\n'
        f'{export}name = "b"\nworkspaces = ["{ONE}", "{TWO}"]\n'
    )
    environ = {
        "AzureWebJobsStorage": CONNECTION,
        "LOG_ANALYTICS_WORKSPACE_ID": ONE,
        "QUERY_WORKSPACES": f"Lab={TWO}, prod-2 = {ONE},",
    }
    settings = load_settings(environ, tmp_path, SOURCES, FORMATS)
    assert settings.problems == ()
    assert list(settings.queries.workspaces.items())[:3] == [("default", ONE), ("Lab", TWO), ("prod-2", ONE)]
    assert {key for key, value in settings.queries.workspaces.items() if key == value} == {ONE, TWO, THREE}
