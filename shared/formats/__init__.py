"""One file a format; this is their registry."""

from collections.abc import Mapping

from shared.file_format import Format
from shared.formats.delimited import Csv
from shared.formats.jsonl import JsonLines
from shared.formats.pages import Pages
from shared.formats.parquet import Parquet

FORMATS: Mapping[str, Format] = {
    "jsonl": JsonLines(""),
    "jsonl.gz": JsonLines("gz"),
    "jsonl.zst": JsonLines("zst"),
    "csv": Csv(),
    "csv.gz": Csv("gz"),
    "csv-guarded": Csv(guarded=True),
    "csv-guarded.gz": Csv("gz", guarded=True),
    "parquet": Parquet(),
    "pages": Pages(),
}
