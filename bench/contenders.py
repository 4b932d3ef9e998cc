"""Whom the app is measured against: each takes an hour's answer from the server to a blob, in its own way."""

import io
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import msgspec
import requests
from azure.core.credentials import TokenCredential
from azure.identity import ClientSecretCredential
from azure.monitor.query import LogsQueryClient, LogsQueryResult
from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerClient
from isal import isal_zlib

from bench.answers import COLUMNS
from bench.rig import Rig

_SCOPE = "https://api.loganalytics.io/.default"
_END = datetime(2026, 11, 20, tzinfo=UTC)


def _to_json(frame: Any, file: BinaryIO) -> None:
    frame.to_json(file, orient="records", lines=True, date_format="iso", compression=_GZIP)


def _to_json_zst(frame: Any, file: BinaryIO) -> None:
    from backports import zstd

    with zstd.open(file, "wb", level=1) as packed:
        frame.to_json(packed, orient="records", lines=True, date_format="iso")


def _to_csv(frame: Any, file: BinaryIO) -> None:
    frame.to_csv(file, index=False, compression=_GZIP)


def _to_parquet(frame: Any, file: BinaryIO) -> None:
    frame.to_parquet(file, index=False, compression="zstd")


_GZIP: Mapping[str, Any] = {"method": "gzip", "compresslevel": 1}
_WRITE: Mapping[str, Callable[[Any, BinaryIO], None]] = {
    "jsonl.gz": _to_json,
    "jsonl.zst": _to_json_zst,
    "csv.gz": _to_csv,
    "parquet": _to_parquet,
}


def peer(rig: Rig, format_: str = "jsonl.gz") -> Callable[[], int]:
    """Return how one would do it with Microsoft's query client and pandas; each call gives a blob's rows.

    As the client's own samples have it, but for gzip's level: the fastest one instead of the slowest, which
    pandas would take.
    """
    import pandas as pd

    client = LogsQueryClient(
        _credential(rig), endpoint=f"{rig.environ['LOG_ANALYTICS_ENDPOINT']}/v1",
        audience="https://api.loganalytics.io", connection_verify=rig.environ["REQUESTS_CA_BUNDLE"],
    )  # fmt: skip
    container = _container(rig)
    workspace = rig.environ["LOG_ANALYTICS_WORKSPACE_ID"]

    def export() -> int:
        result = client.query_workspace(workspace, "Event", timespan=(_END - timedelta(hours=1), _END))
        if not isinstance(result, LogsQueryResult):
            raise TypeError("the peer got an incomplete answer")
        (table,) = result.tables
        frame = pd.DataFrame(data=table.rows, columns=table.columns)
        file = io.BytesIO()
        _WRITE[format_](frame, file)
        container.upload_blob(f"{uuid.uuid4().hex}.{format_}", file.getvalue(), overwrite=True)
        return len(frame)

    return export


class _Table(msgspec.Struct):
    rows: list[msgspec.Raw]


class _Body(msgspec.Struct):
    tables: list[_Table]


def floor(rig: Rig) -> Callable[[], int]:
    """Return the least that Python must do to get the rows from one side to the other as JSON lines.

    It reads the body, splits it into rows and these into cells, a few hundred rows at a time, fills a bytes
    template with each row, compresses and uploads. It counts nothing, hashes nothing, unwraps no ``dynamic``
    value, and would notice no error. Gzip is isal's both ways, at the app's level.
    """
    session = requests.Session()
    token = _credential(rig).get_token(_SCOPE).token
    container = _container(rig)
    url = f"{rig.environ['LOG_ANALYTICS_ENDPOINT']}/v1/workspaces/w/query"
    timespan = f"{_END - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}/{_END:%Y-%m-%dT%H:%M:%SZ}"
    body = json.dumps({"query": "Event", "timespan": timespan})
    split = msgspec.json.Decoder(list[tuple[(msgspec.Raw,) * len(COLUMNS)]]).decode  # type: ignore[misc]  # made here
    template = b"{" + b",".join(b'"%b":%%b' % name.encode() for name, _ in COLUMNS) + b"}\n"

    def export() -> int:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        with session.post(url, data=body, headers=headers, stream=True, timeout=60) as answer:
            text = _inflated(answer)
        rows = msgspec.json.decode(text, type=_Body).tables[0].rows
        blob = container.get_blob_client(f"{uuid.uuid4().hex}.jsonl.gz")
        stream = isal_zlib.compressobj(2, isal_zlib.DEFLATED, 31)
        blocks: list[BlobBlock] = []
        held = bytearray()

        def stage() -> None:
            block = f"{len(blocks):05d}"
            blob.stage_block(block, bytes(held), length=len(held))
            blocks.append(BlobBlock(block))
            held.clear()

        for some in _some(rows, 256):
            cells = split(b"[" + b",".join(some) + b"]")
            held += stream.compress(b"".join([template % each for each in cells]))
            if len(held) >= 8 << 20:
                stage()
        held += stream.flush()
        stage()
        blob.commit_block_list(blocks)
        return len(rows)

    return export


def _inflated(answer: requests.Response) -> bytes:
    """Return a gzipped body in plain, inflated by isal: urllib3 would take zlib, which is slower."""
    stream = isal_zlib.decompressobj(31)
    pieces = iter(lambda: answer.raw.read1(1 << 18, decode_content=False), b"")
    return b"".join(map(stream.decompress, pieces))


def _some(rows: list[msgspec.Raw], count: int) -> Any:
    return (rows[first : first + count] for first in range(0, len(rows), count))


def _credential(rig: Rig) -> TokenCredential:
    return ClientSecretCredential(
        rig.environ["AZURE_TENANT_ID"],
        rig.environ["AZURE_CLIENT_ID"],
        rig.environ["AZURE_CLIENT_SECRET"],
        authority=rig.environ["AZURE_AUTHORITY_HOST"],
        disable_instance_discovery=True,
        connection_verify=rig.environ["REQUESTS_CA_BUNDLE"],
    )


def _container(rig: Rig) -> ContainerClient:
    service = BlobServiceClient.from_connection_string(rig.environ["AzureWebJobsStorage"])
    return service.create_container(f"contender-{uuid.uuid4().hex}")
