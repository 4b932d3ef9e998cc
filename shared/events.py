"""Log lines that say one thing each, with the same fields in the same order, so that they can be searched."""

import logging

from shared.model import Message
from shared.windows import format_second


def event(
    log: logging.Logger, what: str, message: Message, *, level: int = logging.INFO, **fields: object
) -> None:
    """Log one event of a window: ``window exported export=… window=… reason=… rows=… seconds=…``."""
    known = {
        "export": message.export,
        "window": f"{format_second(message.window.start)}/{format_second(message.window.end)}",
        "reason": message.reason,
        **fields,
    }
    # Errors quote what services answered: without line ends, no text can pass for a line of its own.
    log.log(
        level, "%s %s", what, " ".join(" ".join(f"{key}={value}".split()) for key, value in known.items())
    )
