"""Ids of Azure resources: ``/subscriptions/…/providers/…``. Pure.

Source: "Resource Manager naming and ID rules"; a resource group and a subscription have such an id too.
"""

import re
from urllib.parse import quote

_SUBSCRIPTION = re.compile(
    r"/subscriptions/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:/.*)?", re.IGNORECASE | re.DOTALL
)
_WORKSPACE = re.compile(
    r"/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft\.operationalinsights/workspaces/[^/]+",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"[\x00-\x1f\x7f?#%\\]")  # what would end a path, or be read as something else in one


def problem(text: str) -> str | None:
    """Return what is wrong with a text that should be a resource's id; None for one that is right."""
    if not _SUBSCRIPTION.fullmatch(text):
        return "no /subscriptions/ with a subscription's GUID at its beginning"
    if found := _REFUSED.search(text):
        return f"{found[0]!r} at character {found.start() + 1}"
    steps = text.split("/")[1:]
    if any(step.strip(". ") == "" for step in steps):
        return "a step that is empty, '.' or '..'"
    if len(steps) % 2:
        return "an odd number of steps, where each kind of thing has a name"
    return None


def is_workspace(text: str) -> bool:
    """Whether the id is a Log Analytics workspace's."""
    return problem(text) is None and _WORKSPACE.fullmatch(text) is not None


def path(text: str) -> str:
    """Return an id as the path of a URL."""
    return quote(text, safe="/")
