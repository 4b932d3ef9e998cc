"""The made-up answers that the benchmarks export: rows like those of a Windows event log, all of one length.

Because they have one length, an answer of any number of rows is a piece of one text, and costs its server
nothing to make.
"""

import json
from random import Random

COLUMNS = (
    ("TimeGenerated", "datetime"),
    ("TenantId", "guid"),
    ("SourceSystem", "string"),
    ("Computer", "string"),
    ("EventLog", "string"),
    ("Source", "string"),
    ("EventLevel", "int"),
    ("EventLevelName", "string"),
    ("EventID", "int"),
    ("UserName", "string"),
    ("RecordNumber", "long"),
    ("CpuSeconds", "real"),
    ("IsAudit", "bool"),
    ("Properties", "dynamic"),
    ("RenderedDescription", "string"),
    ("_ResourceId", "string"),
)
ROW_BYTES = 510
"""With its comma: 100,000 rows are 51 MB."""

_DIFFERENT = 40_000  # rows: more than a row group of Parquet has, and gzip looks back at 64 of them only
_HALF_PAIR = b"\\ud83d"
_WORDS = (
    *("The", "service", "entered", "running", "stopped", "state", "logon", "attempt", "account", "was"),
    *("successfully", "failed", "for", "user", "process", "created", "exited", "with", "code", "network"),
    *("share", "object", "accessed", "policy", "changed", "audit", "driver", "loaded"),
)


def _row(random: Random, number: int) -> bytes:
    """Make one row as the service writes it: a JSON array, its dynamic value a string that holds JSON."""
    hexadecimal = f"{random.getrandbits(128):032x}"
    moment = f"2026-11-{random.randrange(1, 21):02d}T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:"
    level = random.choice((("Information", 4), ("Warning", 3), ("Error", 2)))
    cells = [
        f"{moment}{number % 60:02d}.{random.randrange(1, 10**6):06d}7Z",
        f"{hexadecimal[:8]}-{hexadecimal[8:12]}-{hexadecimal[12:16]}-{hexadecimal[16:20]}-{hexadecimal[20:]}",
        "OpsManager",
        f"vm-{random.randrange(400):03d}.contoso.example",
        random.choice(("System", "Application", "Security")),
        "Service Control Manager",
        level[1],
        level[0],
        random.randrange(1000, 9999),
        "Müller" if number % 100 == 0 else f"CONTOSO\\user{random.randrange(3000):04d}",
        random.randrange(10**17, 10**18),
        random.random(),
        random.random() < 0.5,
        json.dumps({"param1": random.choice(_WORDS), "param2": {"pid": random.randrange(9999), "ok": True}}),
        "",
        f"/subscriptions/{hexadecimal}/resourcegroups/monitoring/providers/vm-{random.randrange(400):03d}",
    ]

    def encoded() -> bytes:
        return json.dumps(cells, ensure_ascii=False, separators=(",", ":")).encode() + b","

    text = " ".join(random.choices(_WORDS, k=30))
    cells[14] = text[: ROW_BYTES - len(encoded())]
    return encoded()


class Answers:
    """Makes answers, of ``rows`` at most, out of one text of rows; ``seed`` decides every value in it.

    With ``half_pair`` each answer's last text ends with half of a surrogate pair, which JSON allows as an
    escape and UTF-8 does not.
    """

    def __init__(self, rows: int = _DIFFERENT, seed: int = 7, *, half_pair: bool = False) -> None:
        self._half_pair = half_pair
        random = Random(seed)
        self._different = min(rows, _DIFFERENT)
        self._some = b"".join(_row(random, number) for number in range(self._different))
        columns = [{"name": name, "type": type_} for name, type_ in COLUMNS]
        self._head = f'{{"tables":[{{"name":"PrimaryResult","columns":{json.dumps(columns)},"rows":['.encode()

    def body(self, rows: int) -> bytes:
        """Return the body of an answer with so many rows, and with the statistics that say so."""
        times, rest = divmod(rows, self._different)
        text = self._some * times + self._some[: rest * ROW_BYTES]
        if self._half_pair:
            end = text.rindex(b'","/subscriptions/')
            text = text[: end - len(_HALF_PAIR)] + _HALF_PAIR + text[end:]
        return self._head + text[:-1] + f']}}],"statistics":{_statistics(rows)}}}'.encode()


def _statistics(rows: int) -> str:
    counted = {"tableRowCount": rows, "tableSize": rows * ROW_BYTES}
    return json.dumps({"query": {"datasetStatistics": [counted]}})


def numbers(rows: int) -> bytes:
    """Return the answer to the app's question for a window's size."""
    columns = [{"name": "rows", "type": "long"}, {"name": "answer_bytes", "type": "long"}]
    table = {"name": "PrimaryResult", "columns": columns, "rows": [[rows, rows * ROW_BYTES]]}
    return json.dumps({"tables": [table]}).encode()
