"""Worlds for tests: each has a cloud and containers of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local.azurite import Azurite
from tests.completeness.world import World, options

MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeWorld]:
    """Make a world; keyword arguments change the stand-in cloud's options.

    Its storage is Azurite in tests that use the fixture of this name, and in memory in others.
    """
    azurite: Azurite | None = None
    if "azurite" in request.fixturenames:
        azurite = request.getfixturevalue("azurite")
    with contextlib.ExitStack() as worlds:

        def make(**changes: Any) -> World:
            world = World(tmp_path, azurite, monkeypatch, replace(options(), **changes))
            return worlds.enter_context(world)

        yield make


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """Return a world whose cloud holds nothing and has the documented limits, but for rates."""
    return make_world()
