"""What the model's sources hold: rows of a table, and records of an audit log."""

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shared.windows import SECOND, format_instant


def wire_time(tick: int) -> str:
    """Return an instant as the services write it: the zeros at the end of its fraction cut off."""
    text = format_instant(tick)[:-1].rstrip("0")
    return text.removesuffix(".") + "Z"


@dataclass(frozen=True)
class Row:
    """A row of a table. It is asked for by ``ingested`` or ``time``, and seen only from ``visible`` on."""

    ingested: int
    time: int
    visible: int
    level: str
    number: int

    @cached_property
    def cells(self) -> dict[str, Any]:
        """The row's columns, as the service writes them."""
        return {"TimeGenerated": wire_time(self.time), "Level": self.level, "N": self.number}

    def hash(self, names: Iterable[str]) -> int:
        """Return a hash of some columns' texts, one after another."""
        return zlib.crc32("".join(str(self.cells[name]) for name in names).encode())


@dataclass(frozen=True)
class Record:
    """A record of an audit log; ``bodies`` says from which tick on it looks how."""

    tick: int
    bodies: tuple[tuple[int, bytes], ...]

    @property
    def visible(self) -> int:
        """The tick from which on the record is seen at all."""
        return self.bodies[0][0]

    def body(self, now: int) -> bytes:
        """Return the record as it looks at a tick."""
        return [body for since, body in self.bodies if since <= now][-1]


def record(tick: int, id_: str, result: str, since: Iterable[int]) -> Record:
    """Return a record that looks otherwise from each tick of ``since`` on; from the first on it is seen."""
    bodies = []
    for version, visible in enumerate(since):
        cells = {"id": id_, "activityDateTime": wire_time(tick), "result": result, "version": version}
        bodies.append((visible, json.dumps(cells).encode()))
    return Record(tick, tuple(bodies))


def floor_second(tick: int) -> int:
    """Return a tick without its fraction of a second."""
    return tick // SECOND * SECOND
