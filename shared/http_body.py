"""Reads what HTTP requests say: bodies in JSON, and spans of time. Each mistake names its field. Pure."""

import contextlib
import re
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec

from shared import rawjson
from shared.errors import BadRequestError
from shared.model import Window
from shared.windows import parse_instant

_T = TypeVar("_T", bound=msgspec.Struct)

_MOST = 20  # mistakes that are told of one body
_LONGEST = 64  # characters of a name that is repeated to the caller


def read_body(body: bytes, type_: type[_T]) -> _T:
    """Decode a request's body to a type. Raises BadRequestError, which names every field that is wrong."""
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as error:
        mistakes = list(islice(_mistakes(body, type_), _MOST))
        raise BadRequestError.of(mistakes or [("body", str(error))]) from error
    except rawjson.UNREADABLE as error:
        raise BadRequestError("body", f"not JSON: {error}") from error


def read_mended(body: bytes, type_: type[_T], **instead: object) -> tuple[_T, list[tuple[str, str]]]:
    """Decode a request's body although fields are wrong; return them too, each with what is wrong.

    A field that is wrong is as if it had not been given, one that is required has the value that ``instead``
    has of it. So what the others say can be looked at in the same turn. Raises BadRequestError where there
    are no fields at all.
    """
    try:
        return read_body(body, type_), []
    except BadRequestError as error:
        wrong = {re.split(r"[.\[]", field)[0] for field, _ in error.mistakes}
        if "body" in wrong:
            raise
        members: dict[str, Any] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        given = {
            field.name: msgspec.json.decode(members[field.encode_name], type=field.type)
            for field in msgspec.structs.fields(type_)
            if field.encode_name in members and field.encode_name not in wrong
        }
        return type_(**{**instead, **given}), list(error.mistakes)


def span_of(start: str | None, end: str | None, step: int = 1) -> Window:
    """Return the time from one instant to another, both on a multiple of ``step`` (ticks), a second at most.

    Raises BadRequestError, which names each of the two that is wrong, or missing (None).
    """
    ticks: dict[str, int] = {}
    mistakes: list[tuple[str, str]] = []
    for field, text in (("start", start), ("end", end)):
        if text is None:
            mistakes.append((field, "is missing; give both or neither"))
            continue
        try:
            ticks[field] = parse_instant(text)
            if ticks[field] % step:
                mistakes.append((field, "it must lie on a whole second"))
        except ValueError as error:
            mistakes.append((field, str(error)[:200]))
    if not mistakes and ticks["start"] >= ticks["end"]:
        mistakes.append(("end", "does not lie after start"))
    if mistakes:
        raise BadRequestError.of(mistakes)
    return Window(ticks["start"], ticks["end"])


def _mistakes(body: bytes, type_: type[msgspec.Struct]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with each member of a body that has mistakes."""
    try:
        members: dict[str, Any] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        return
    except rawjson.UNREADABLE as error:  # after the first mistake, where nobody had looked yet
        yield "body", f"not JSON: {error}"
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(type_)}
    for name, field in fields.items():
        if name not in members:
            if field.required:
                yield name, "is missing"
            continue
        yield from _mistakes_of(name, members[name], field.type)
    for name in members:  # after all others: there may be any number of them
        if name not in fields:
            yield name[:_LONGEST], f"is not known; expected some of {', '.join(fields)}"


def _mistakes_of(name: str, member: msgspec.Raw, type_: Any) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with one member, or with each of those that it has by name."""
    try:
        msgspec.json.decode(member, type=type_)
    except msgspec.ValidationError as error:
        bare = _bare(type_)
        if get_origin(bare) is dict:
            with contextlib.suppress(msgspec.ValidationError):  # no object at all
                for key, value in msgspec.json.decode(member, type=dict[str, msgspec.Raw]).items():
                    yield from _mistakes_of(f"{name}.{key[:_LONGEST]}", value, get_args(bare)[1])
                return
        inner = re.search(r" - at `\$([^`]+)`$", str(error))
        place = f"{name}{inner[1]}" if inner else name
        choices = get_args(bare) if get_origin(bare) is Literal else ()
        expected = f"; expected one of {', '.join(choices)}" if choices and not inner else ""
        yield place, str(error).partition(" - at `")[0] + expected
    except rawjson.UNREADABLE as error:
        yield name, f"not JSON: {error}"


def _bare(type_: Any) -> Any:
    """Return a field's type without what is said about it."""
    return get_args(type_)[0] if get_origin(type_) is Annotated else type_
