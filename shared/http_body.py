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
    for name in members:
        if name not in fields:
            yield name[:_LONGEST], f"is not known; expected some of {', '.join(fields)}"
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
