"""One file a format; this is their registry."""

from collections.abc import Mapping

from shared.formats.jsonl import JsonLines
from shared.model import Format

FORMATS: Mapping[str, Format] = {"jsonl": JsonLines(compressed=False), "jsonl.gz": JsonLines(compressed=True)}
