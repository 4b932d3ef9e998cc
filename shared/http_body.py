"""Reads the JSON bodies of HTTP requests, so that each mistake names its field. Pure."""

import re
from typing import TypeVar

import msgspec

from shared import rawjson
from shared.errors import BadRequestError

_T = TypeVar("_T", bound=msgspec.Struct)


def read_body(body: bytes, type_: type[_T]) -> _T:
    """Decode a request's body to a type. Raises BadRequestError, which names the field that is wrong."""
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as error:
        field = re.search(r"(?:field |at )`(?:\$\.)?([^`]+)`", str(error))
        raise BadRequestError(field[1] if field else "body", str(error)) from error
    except rawjson.UNREADABLE as error:
        raise BadRequestError("body", f"not JSON: {error}") from error
