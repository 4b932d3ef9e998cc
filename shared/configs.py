"""Stored configurations: all that decides what is stored, in one canonical text with a digest. Pure."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.model import Export, SourceType
from shared.windows import parse_duration


class Config(msgspec.Struct, frozen=True):
    """What decides which rows are stored, how they are cut, and in which form."""

    source: str
    window: str
    offset: str
    format: str
    options: dict[str, Any]
    identity: dict[str, str]


def canonical(config: Config) -> bytes:
    """Return a configuration as JSON: what stores the same gives the same bytes.

    An option that is part of the identity is written as it is there.
    """
    options = {key: value for key, value in config.options.items() if value is not None}
    options |= {key: config.identity[key] for key in options.keys() & config.identity.keys()}
    return msgspec.json.encode(msgspec.structs.replace(config, options=options), order="sorted")


def digest(config: bytes) -> str:
    """Return the name of a canonical configuration."""
    return hashlib.sha256(config).hexdigest()[:16]


def read_config(name: str, config: bytes, sources: Mapping[str, SourceType]) -> Export:
    """Return the export that windows were stored with, from its stored configuration.

    Raises ValueError when this version of the app cannot read it.
    """
    try:
        stored = msgspec.json.decode(config, type=Config)
        source = sources[stored.source]
        options = msgspec.convert(stored.options, type=source.options)
    except (msgspec.MsgspecError, KeyError) as error:
        raise ValueError(f"the stored configuration of {name} cannot be read: {error}") from error
    return Export(
        name=name,
        source=stored.source,
        kind=source.kind,
        options=options,
        window=parse_duration(stored.window),
        offset=parse_duration(stored.offset),
        lag=0,
        start=0,
        recheck=(),
        retention=None,
        keep=None,
        format=stored.format,
        identity=stored.identity,
        config=config,
        digest=digest(config),
        columns=source.columns(options),
    )
