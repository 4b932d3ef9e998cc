r"""JSON that is split and passed on, not decoded, without stumbling over what JSON allows and UTF-8 not.

A JSON text may hold half of a surrogate pair as an escape (``\ud83d``), which is no character and which
msgspec refuses even where it only skips over it. Such halves are marked before decoding and put back after
encoding, so that they go through as they came.
"""

import re
import uuid
from collections.abc import Iterator
from typing import TypeVar

import msgspec

_T = TypeVar("_T")

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises: not JSON, not of the type, not UTF-8, or nested too deep to follow."""

_BACKSLASH = ord("\\")
_MARK = uuid.uuid4().hex.encode()  # in no data, because nobody knows it
_HALF = re.compile(rb"\\u([dD][89a-fA-F][0-9a-fA-F]{2})")
_SECOND = re.compile(rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}")
# What some readers take for the end of a line although JSON allows it inside a string.
_LINE_ENDS = ("\u2028", "\u2029", "\x85")
_MARKED = re.compile(_MARK + rb"([0-9a-fA-F]{4})")


def decode(data: bytes, type_: type[_T]) -> _T:
    """Decode JSON to a type. Raises one of UNREADABLE. What it gives may hold marks: ``restore`` them."""
    try:
        return msgspec.json.decode(data, type=type_)
    except msgspec.DecodeError:
        if b"\\ud" not in data and b"\\uD" not in data:
            raise
    return msgspec.json.decode(b"".join(_marked(data)), type=type_)


def restore(text: bytes) -> bytes:
    """Put the halves of surrogate pairs back into an encoded text, as escapes."""
    return _MARKED.sub(rb"\\u\1", text) if _MARK in text else text


def one_line(value: bytes) -> bytes:
    """Return a JSON value on one line, whatever a reader takes for the end of a line."""
    if b"\n" in value or b"\r" in value:
        value = msgspec.json.format(value, indent=-1)  # only white space between tokens can hold them
    return without_line_ends(value)


def finished(text: bytes) -> bytes:
    """Return encoded JSON ready to be stored: restored, and with no line end but LF.

    Raises UnicodeDecodeError for what is not UTF-8: nobody could decode it.
    """
    text = restore(text)
    if text.isascii():
        return text
    decoded = text.decode()  # in which a character is found much sooner than its bytes are in bytes
    return without_line_ends(text) if any(mark in decoded for mark in _LINE_ENDS) else text


def without_line_ends(value: bytes) -> bytes:
    """Return JSON text with an escape for each character, but LF, that some reader ends a line at."""
    if value.isascii():
        return value
    for mark in _LINE_ENDS:
        value = value.replace(mark.encode(), b"\\u%04x" % ord(mark))
    return value


def _marked(data: bytes) -> Iterator[bytes]:
    """Yield the parts of a text in which each half of a surrogate pair that stands alone is marked.

    It looks at what may be halves only: an answer may hold millions of other escapes.
    """
    done = pair_end = 0
    for match in _HALF.finditer(data):
        start = first = match.start()
        if start < pair_end:
            continue
        while first and data[first - 1] == _BACKSLASH:
            first -= 1
        if (start - first) % 2:  # its backslash is itself escaped
            continue
        if match[1][1:2] in b"89abAB" and (second := _SECOND.match(data, match.end())):
            pair_end = second.end()
            continue
        yield from (data[done:start], _MARK, match[1])
        done = match.end()
    yield data[done:]
