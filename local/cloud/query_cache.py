"""Answers of the last two minutes, which the query service gives again unless it is told not to.

Source: "Azure Monitor Log Analytics API", cache.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable

from local.cloud.server import Answer

_SECONDS = 120
_ANSWERS = 64
_BYTES = 1_000_000


class Cache:
    """A few small answers. `clock` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, control: str) -> Answer | None:
        """A stored answer with its Age, where there is one that the Cache-Control header takes."""
        control = control.lower()
        if "no-cache" in control or "no-store" in control:
            return None
        most = int(found[1]) if (found := re.search(r"max-age=(\d+)", control)) else _SECONDS
        with self._lock:
            stored, answer = self._answers.get(key, (0.0, None))
        age = self._clock() - stored
        if answer is None or age > min(most, _SECONDS):
            return None
        return Answer(answer.status, answer.body, answer.headers | {"Age": str(int(age))})

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer, unless it is a large one."""
        if len(answer.body) > _BYTES:
            return
        with self._lock:
            self._answers[key] = (self._clock(), answer)
            while len(self._answers) > _ANSWERS:
                self._answers.popitem(last=False)
