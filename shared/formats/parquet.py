"""Parquet with typed columns. Pure. What is in a file: ``shared.parquet_file``, which alone needs pyarrow."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from types import ModuleType

import msgspec

from shared.errors import ExportError
from shared.file_format import ReadBlob, SingleFile, Writer
from shared.model import Column


class Parquet(SingleFile):
    """The format ``parquet``. pyarrow is imported when the first file is written or read."""

    @property
    def extension(self) -> str:
        """The file name's ending."""
        return "parquet"

    @property
    def content_type(self) -> str:
        """The media type."""
        return "application/vnd.apache.parquet"

    @property
    def missing(self) -> str | None:
        """What has to be installed first: pyarrow is large, so that only those have it who want it."""
        if find_spec("pyarrow"):
            return None
        return "pyarrow installed: add the line -r requirements-parquet.txt to requirements.txt"

    def writer(
        self, folder: str = "", before: bytes | None = None, columns: Sequence[Column] = ()  # noqa: ARG002
    ) -> Writer:  # fmt: skip
        """Begin one file, which is all there is."""
        writer: Writer = self._files().ParquetFile(columns)
        return writer

    def count(self, data: bytes, read: ReadBlob | None = None) -> int:  # noqa: ARG002  all is in one file
        """Return how many rows a whole file has, having read them. Raises ValueError for a damaged file."""
        rows: int = self._files().count_rows(data)
        return rows

    def records(self, data: bytes, read: ReadBlob | None = None) -> Iterator[msgspec.Raw]:  # noqa: ARG002
        """Yield the records of a whole file. Raises ValueError for a damaged one, and one of other rows."""
        for record in self._files().read_records(data):
            yield msgspec.Raw(record.encode())

    def _files(self) -> ModuleType:
        """Return the module that knows pyarrow. Raises ExportError where that was removed since."""
        if self.missing:
            raise ExportError(f"a Parquet file is to be written or read, which needs {self.missing}")
        from shared import parquet_file

        return parquet_file
