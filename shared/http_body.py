"""Reads the JSON bodies of HTTP requests, so that each mistake names its field. Pure."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, TypeVar

import msgspec

from shared import rawjson
from shared.errors import BadRequestError

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
        try:
            msgspec.json.decode(members[name], type=field.type)
        except msgspec.ValidationError as error:
            inner = re.search(r" - at `\$\.?([^`]+)`$", str(error))
            place = f"{name}.{inner[1]}" if inner else name
            yield place, str(error).partition(" - at `")[0]
        except rawjson.UNREADABLE as error:
            yield name, f"not JSON: {error}"
    for name in members:  # after all others: there may be any number of them
        if name not in fields:
            yield name[:_LONGEST], f"is not known; expected some of {', '.join(fields)}"
