"""A model of Microsoft Graph's directory audit log: pages that are short, empty, or move."""

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from shared.model import Request
from shared.windows import HOUR, SECOND, parse_instant
from tests.model.records import Record
from tests.model.services import Reply, refusal, stormy

ORIGIN = "https://graph.microsoft.com"
_FILTER = re.compile(r"activityDateTime ge (\S+Z) and activityDateTime le (\S+Z)")
MILLISECOND = 10_000


@dataclass(frozen=True)
class Habits:
    """How the log answers.

    ``grain`` is what times are cut to (ticks) before they are compared; ``fuzz`` by how much the edges lie
    too far inside (ticks); ``page`` how many records a page holds at most; ``newest_first`` the order.
    Records vanish ``retention`` ticks on, cut to the hour before.
    """

    grain: int = MILLISECOND
    fuzz: int = 0
    page: int = 5
    newest_first: bool = True
    retention: int | None = None


class AuditLog:
    """One tenant's log. ``now`` is the true time; ``rng`` gives the present worker's chances."""

    def __init__(
        self,
        records: Sequence[Record],
        habits: Habits,
        now: Callable[[], int],
        rng: Callable[[], random.Random],
        trouble: Callable[[], float],
    ) -> None:
        self.habits = habits
        self._records = sorted(records, key=lambda each: each.tick, reverse=habits.newest_first)
        self._now = now
        self._rng = rng
        self._trouble = trouble
        self._walks: dict[str, tuple[int, int, int]] = {}

    def floor(self, now: int) -> int:
        """Return the tick before which the log refuses to look."""
        return 0 if self.habits.retention is None else (now - self.habits.retention) // HOUR * HOUR

    def answer(self, request: Request) -> Reply:
        """Answer one request."""
        rng = self._rng()
        if rng.random() < self._trouble():
            return stormy(rng, lambda: self._page(request.target, rng))
        return self._page(request.target, rng)

    def _page(self, target: str, rng: random.Random) -> Reply:
        query = parse_qs(urlsplit(target).query)
        if "$skiptoken" in query:
            if rng.random() < self._trouble():
                return refusal(400, "UnknownError", "Invalid Skip Token, skip token is null")
            first, last, at = self._walks[query["$skiptoken"][0]]
        else:
            match = _FILTER.fullmatch(query["$filter"][0])
            assert match, query
            first, last, at = parse_instant(match[1]), parse_instant(match[2]), 0
            floor = self.floor(self._now())
            if first < floor:
                return _too_old(floor)
            fuzz = self.habits.fuzz
            first, last = first + fuzz, last - fuzz
        found = self._found(first, last)
        end = at if rng.random() < 0.1 else at + rng.randint(1, self.habits.page)
        body: dict[str, object] = {"value": "@"}
        if end < len(found) or rng.random() < 0.1:
            token = f"{len(self._walks):x}_{end}"
            self._walks[token] = first, last, end
            body["@odata.nextLink"] = f"{ORIGIN}/v1.0/auditLogs/directoryAudits?$skiptoken={token}"
        value = b"[" + b", ".join(found[at:end]) + b"]"
        return Reply(200, json.dumps(body).encode().replace(b'"@"', value))

    def _found(self, first: int, last: int) -> list[bytes]:
        """Return what the log shows by now: a walk's pages move when that changes under it."""
        now, grain = self._now(), self.habits.grain
        return [
            each.body(now)
            for each in self._records
            if each.visible <= now and first <= each.tick // grain * grain <= last
        ]


def _too_old(floor: int) -> Reply:
    stamp = datetime(1, 1, 1, tzinfo=UTC) + timedelta(seconds=floor // SECOND)
    text = f"{stamp.month}/{stamp.day}/{stamp.year} {stamp.strftime('%I:%M:%S %p')}"
    message = (
        "Specified argument was out of the range of valid values. "
        f"(Parameter 'Minimum allowed time for activityDateTime is {text}')"
    )
    return refusal(400, "BadRequest", message)
