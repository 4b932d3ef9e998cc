"""Ids of Azure resources: what is one, and what it is as a path."""

from __future__ import annotations

import pytest

from shared import arm_ids

SUBSCRIPTION = "/subscriptions/11111111-2222-4333-8444-555555555555"
WORKSPACE = (
    f"{SUBSCRIPTION}/resourceGroups/monitoring/providers/Microsoft.OperationalInsights/workspaces/logs"
)


@pytest.mark.parametrize(
    "right",
    [
        SUBSCRIPTION,
        f"{SUBSCRIPTION}/resourceGroups/rg (old)_1.x",
        WORKSPACE,
        WORKSPACE.upper(),
        f"{WORKSPACE}/providers/Microsoft.SecurityInsights/rules/größe",
    ],
)
def test_ids(right: str) -> None:
    """A subscription, a group and any resource have an id, in any letter case."""
    assert arm_ids.problem(right) is None


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "logs",
        WORKSPACE[1:],
        f"https://management.azure.com{WORKSPACE}",
        "/subscriptions/mine/resourceGroups/x",
        f"{SUBSCRIPTION}x",
        f"{SUBSCRIPTION}/",
        f"{SUBSCRIPTION}/resourceGroups",
        f"{SUBSCRIPTION}/resourceGroups/../x/y",
        f"{SUBSCRIPTION}/resourceGroups/.",
        f"{SUBSCRIPTION}//x",
        f"{WORKSPACE}?api-version=1",
        f"{WORKSPACE}#x",
        f"{WORKSPACE}%2e%2e",
        f"{WORKSPACE}\\x",
        f"{WORKSPACE}\n",
    ],
)
def test_what_is_no_id(wrong: str) -> None:
    """What would lead elsewhere, or is something else, is named."""
    assert arm_ids.problem(wrong)
    assert not arm_ids.is_workspace(wrong)


def test_a_workspaces_id() -> None:
    """Only a Log Analytics workspace's own id is one."""
    assert arm_ids.is_workspace(WORKSPACE.lower())
    assert not arm_ids.is_workspace(SUBSCRIPTION)
    assert not arm_ids.is_workspace(f"{WORKSPACE}/tables/Event")


def test_a_path() -> None:
    """What a URL cannot hold is quoted; the steps stay steps."""
    assert arm_ids.path(f"{SUBSCRIPTION}/resourceGroups/a (b) ä") == (
        f"{SUBSCRIPTION}/resourceGroups/a%20%28b%29%20%C3%A4"
    )
