"""The records that Graph's logs hold."""

import threading
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from local.cloud.graph_logs import Log
from local.cloud.graph_pages import Record
from local.cloud.ticks import parse_instant


class Records:
    """The records of one log, newest first, for any number of threads."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._records: list[tuple[int, Record]] = []

    def add(self, records: Iterable[Mapping[str, Any]], stamp: str) -> int:
        """Add records and return how many; they can be read at once.

        What a record lacks is as in the log's `empty`, but a new id, and `stamp` (an ISO instant) for its
        time. Raises ValueError for a wrong time.
        """
        dated = [
            self._dated({**self._log.empty, "id": self._log.new_id(None), self._log.time: stamp, **record})
            for record in records
        ]
        with self._lock:
            self._records.extend(dated)
            self._sort()
        return len(dated)

    def remove(self, ids: Collection[str]) -> int:
        """Take the records with these ids away and return how many; a walk under way still has them."""
        with self._lock:
            before = len(self._records)
            self._records = [each for each in self._records if each[1]["id"] not in ids]
            return before - len(self._records)

    def replace(self, id_: str, record: Mapping[str, Any]) -> None:
        """Give the record with this id other members; those that `record` lacks stay as they are.

        Raises ValueError where there is none, or for a wrong time.
        """
        with self._lock:
            old = next((each for _, each in self._records if each["id"] == id_), None)
        if old is None:
            raise ValueError(f"no record of {self._log.name} with the id {id_!r}")
        new = self._dated({**old, **record})
        with self._lock:
            self._records = [new if each is old else (ticks, each) for ticks, each in self._records]
            self._sort()

    def since(self, floor: int) -> list[Record]:
        """The records of `floor` (ticks) and later, newest first."""
        with self._lock:
            return [record for ticks, record in self._records if ticks >= floor]

    def _sort(self) -> None:
        self._records.sort(key=lambda each: each[0], reverse=True)

    def _dated(self, record: Record) -> tuple[int, Record]:
        time = record.get(self._log.time)
        if not record.get("id") or not isinstance(time, str):
            raise ValueError(f"a record of {self._log.name} needs an id and its {self._log.time}")
        return parse_instant(time), record
