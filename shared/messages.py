"""Queue messages as JSON text. Pure."""

import msgspec

from shared.errors import BadRequestError
from shared.model import Message, Reason, Window
from shared.windows import SECOND, format_second, parse_instant


class _Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    export: str
    start: str
    end: str
    reason: Reason
    config: str
    id: str


def encode(message: Message) -> str:
    """Return a message as one JSON object."""
    wire = _Wire(
        message.export,
        format_second(message.window.start),
        format_second(message.window.end),
        message.reason,
        message.config,
        message.id,
    )
    return msgspec.json.encode(wire).decode()


def decode(text: bytes | str) -> Message:
    """Read a message back. Raises BadRequestError, which no retry helps, for anything else."""
    try:
        wire = msgspec.json.decode(text, type=_Wire)
        window = Window(parse_instant(wire.start), parse_instant(wire.end))
        if window.start % SECOND or window.end % SECOND:
            raise ValueError("start and end must lie on whole seconds")
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadRequestError("queue message", str(error)) from error
    return Message(wire.export, window, wire.reason, wire.config, wire.id)
