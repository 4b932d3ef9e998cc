"""Compressed files: the same bytes in give the same bytes out, however they are divided. Pure."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, assert_never

Compression = Literal["", "gz", "zst"]
"""What the ending of a file's name says of it: nothing, gzip, Zstandard."""

MEDIA_TYPES = {"gz": "application/gzip", "zst": "application/zstd"}

_PIECE = 1 << 20  # bytes given to the compressor at a time, so that its output does not depend on the caller
_READ = 1 << 18  # bytes of content at a time: what is made of them may take many times as much memory
_GZIP_LEVEL = 2
_ZSTD_LEVEL = 1


class Stream:
    """Compresses one file as it comes."""

    def __init__(self, compression: Compression) -> None:
        self._compress, self._flush = _compressor(compression)
        self._held = bytearray()

    def write(self, data: bytes) -> bytes:
        """Take the next bytes; return those that are ready."""
        self._held += data
        whole = len(self._held) // _PIECE * _PIECE
        with memoryview(self._held) as held:
            ready = b"".join([self._compress(held[i : i + _PIECE]) for i in range(0, whole, _PIECE)])
        del self._held[:whole]
        return ready

    def finish(self) -> bytes:
        """Return the remaining bytes."""
        return self._compress(bytes(self._held)) + self._flush()


def inflated(data: bytes, compression: Compression) -> Iterator[bytes]:
    """Yield a whole file's content in pieces, of which none is empty.

    Raises ValueError for a damaged one, which may show only after its last piece.
    """
    match compression:
        case "":
            for at in range(0, len(data), _READ):
                yield data[at : at + _READ]
        case "gz":
            try:
                with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                    yield from iter(lambda: file.read(_READ), b"")
            except (OSError, EOFError, zlib.error) as error:
                raise ValueError(f"the file is no whole gzip stream: {error}") from error
        case "zst":
            from backports import zstd

            try:
                with zstd.ZstdFile(io.BytesIO(data)) as file:
                    yield from iter(lambda: file.read(_READ), b"")
            except (EOFError, zstd.ZstdError) as error:
                raise ValueError(f"the file is no whole Zstandard stream: {error}") from error
        case _:
            assert_never(compression)


def decompress(data: bytes, compression: Compression) -> bytes:
    """Return a whole file's content. Raises ValueError for a damaged one."""
    return b"".join(inflated(data, compression))


def gunzip(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what a gzip stream holds, of one member or several (RFC 1952); nothing for no stream at all.

    isal takes half the time of zlib, which is much of what an answer costs. Raises ValueError for a stream
    that is damaged or does not end.
    """
    from isal import isal_zlib

    stream = None
    for piece in pieces:
        rest = piece
        while rest:
            if stream is None or stream.eof:
                stream = isal_zlib.decompressobj(31)  # 31: a gzip wrapper
            try:
                yield stream.decompress(rest)
            except isal_zlib.error as error:  # type: ignore[misc]  # its stub has the class as an instance
                raise ValueError(f"not gzip: {error}") from error
            rest = stream.unused_data
    if stream is not None and not stream.eof:
        raise ValueError("the gzip stream does not end")


def _compressor(
    compression: Compression,
) -> tuple[Callable[[bytes | memoryview], bytes], Callable[[], bytes]]:
    match compression:
        case "":
            return bytes, bytes
        case "gz":
            from isal import isal_zlib

            # wbits 31 is a gzip stream; its header says no time, so that the same rows give the same bytes.
            stream = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, 31)
            return stream.compress, stream.flush
        case "zst":
            from backports import zstd

            # With a checksum, as gzip has one.
            parameter = zstd.CompressionParameter
            options: dict[int, int] = {parameter.compression_level: _ZSTD_LEVEL, parameter.checksum_flag: 1}
            compressor = zstd.ZstdCompressor(options=options)
            return compressor.compress, compressor.flush
        case _:
            assert_never(compression)
