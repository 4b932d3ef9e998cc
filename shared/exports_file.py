"""The exports file (TOML) -> ``Export`` values, with every mistake in it found at once.

A wrong export is left out and reported; its neighbours are read.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from shared.configs import Config, canonical, digest
from shared.errors import Problem
from shared.file_format import Format
from shared.model import Export, SourceType
from shared.windows import DAY, SECOND, format_duration, parse_duration, parse_instant

LONGEST_WINDOW = 7 * DAY

_Struct = TypeVar("_Struct", bound=msgspec.Struct)
_SETTING = re.compile(r"%([^%\s]+)%")
_EXPORT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def read_exports(
    path: Path,
    environ: Mapping[str, str],
    *,
    cloud: str,
    tenant_id: str | None,
    sources: Mapping[str, SourceType],
    formats: Mapping[str, Format],
) -> tuple[list[Export], list[Problem]]:
    """Return the exports that are right and enabled, and what is wrong with the others.

    A value that is ``%NAME%`` as a whole is read from the app setting NAME, as in bindings. A key
    ``x_file`` gives the text of a file beside the exports file as the key ``x``.
    """
    reader = _ExportsFile(path, environ, cloud, tenant_id, sources, formats)
    return list(reader.exports()), reader.problems


class _Common(msgspec.Struct, frozen=True):
    """The keys that every export has, with their types and defaults."""

    name: str
    source: str
    window: str = "1h"
    offset: str = "0s"
    lag: str = "15m"
    start: str = "-24h"
    recheck: tuple[str, ...] | None = None
    retention: str | None = None
    keep: str | None = None
    format: str = "jsonl.gz"
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class _Times:
    """An export's times in ticks; ``offset`` less than a window, ``start`` negative where it is relative."""

    window: int
    offset: int
    lag: int
    start: int
    recheck: tuple[int, ...]
    retention: int | None
    keep: int | None


class _ExportsFile:
    """Reads the exports file and gathers what is wrong with it."""

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        cloud: str,
        tenant_id: str | None,
        sources: Mapping[str, SourceType],
        formats: Mapping[str, Format],
    ) -> None:
        self._path = path
        self._environ = environ
        self._cloud = cloud
        self._tenant_id = tenant_id
        self._sources = sources
        self._formats = formats
        self.problems: list[Problem] = []

    def exports(self) -> Iterator[Export]:
        """Yield the exports that are right and enabled."""
        entries = self._entries()
        names = [str(entry.get("name", "")).lower() for entry in entries]
        for position, entry in enumerate(entries, start=1):
            label = repr(entry["name"]) if isinstance(entry.get("name"), str) else f"number {position}"
            where = f"{self._path.name}: export {label}"
            before = len(self.problems)
            if "name" in entry and names.count(str(entry["name"]).lower()) > 1:
                self._wrong(
                    f"{where}: name", "the same name in another entry", "one entry a name: it names the data"
                )
            export = self._export(entry, where)
            if export is not None and len(self.problems) == before:
                yield export

    def _wrong(self, where: str, found: str, expected: str) -> None:
        self.problems.append(Problem(where, found, expected))

    def _entries(self) -> list[dict[str, Any]]:
        try:
            document = tomllib.loads(self._path.read_text("utf-8-sig"))
        except OSError as error:
            self._wrong(
                f"exports file {self._path}",
                error.strerror or "an error",
                "a readable file; EXPORTS_FILE names it",
            )
            return []
        except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
            self._wrong(f"exports file {self._path}", str(error), "a TOML document")
            return []
        entries = document.pop("export", [])
        for key in document:
            self._wrong(f"{self._path.name}: {key}", "an unknown key", "only [[export]] tables")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            self._wrong(f"{self._path.name}: export", "something else", "[[export]] tables")
            return []
        return entries

    def _export(self, entry: dict[str, Any], where: str) -> Export | None:
        """Return one entry as an Export, or None when it is paused or wrong (and reported)."""
        before = len(self.problems)
        values = dict(self._resolved(entry, where))
        common_values = {key: values.pop(key) for key in list(values) if key in _Common.__struct_fields__}
        common = self._struct(_Common, common_values, where)
        source = self._source(common_values.get("source"), where)
        options = self._struct(source.options, values, where) if source else None
        times = self._times(common, source, options, where) if common else None
        identity = self._identity(source, options, where) if source and options else {}
        wrong = len(self.problems) > before
        if wrong or not (common and times and source and options and common.enabled):
            return None
        config = canonical(
            Config(
                source=common.source,
                window=format_duration(times.window),
                offset=format_duration(times.offset),
                format=common.format,
                options=msgspec.to_builtins(options),
                identity=dict(identity),
            )
        )
        return Export(
            name=common.name,
            source=common.source,
            kind=source.kind,
            options=options,
            window=times.window,
            offset=times.offset,
            lag=times.lag,
            start=times.start,
            recheck=times.recheck,
            retention=times.retention,
            keep=times.keep,
            format=common.format,
            identity=identity,
            config=config,
            digest=digest(config),
            columns=source.columns(options),
        )

    def _source(self, name: object, where: str) -> SourceType | None:
        source = self._sources.get(name) if isinstance(name, str) else None
        if source is None and isinstance(name, str):
            self._wrong(f"{where}: source", repr(name), "one of " + ", ".join(self._sources))
        return source

    def _check_format(self, name: str, source: SourceType | None, where: str) -> None:
        paged = source is None or source.paged
        fitting = [key for key, each in self._formats.items() if paged or not each.verbatim]
        if name not in fitting:
            expected = "one of " + ", ".join(fitting)
            if name in self._formats:
                expected += ": this source does not answer in pages"
            self._wrong(f"{where}: format", repr(name), expected)
        elif missing := self._formats[name].missing:
            self._wrong(f"{where}: format", repr(name), missing)

    def _times(
        self, common: _Common, source: SourceType | None, options: msgspec.Struct | None, where: str
    ) -> _Times:
        """Check the keys that every export has; return its times in ticks."""
        self._check_format(common.format, source, where)
        if not _EXPORT_NAME.fullmatch(common.name):
            expected = "1 to 63 lower-case letters, digits and inner hyphens"
            self._wrong(f"{where}: name", repr(common.name), expected)
        window = self._ticks(f"{where}: window", common.window)
        if not 0 < window <= LONGEST_WINDOW:
            self._wrong(f"{where}: window", repr(common.window), "more than 0s and at most 7d")
        recheck = common.recheck if common.recheck is not None or source is None else source.recheck
        if source is not None and not source.countable and recheck:
            self._wrong(f"{where}: recheck", repr(list(recheck)), "[]: this source is read once")
        retention = common.retention or (source.retention if source else None)
        if retention is None and source is not None and options is not None:
            retention = source.retention_of(options)
        return _Times(
            window=window,
            offset=self._ticks(f"{where}: offset", common.offset) % max(1, window),
            lag=self._ticks(f"{where}: lag", common.lag),
            start=self._start(f"{where}: start", common.start),
            recheck=tuple(sorted(self._ticks(f"{where}: recheck", age) for age in recheck or ())),
            retention=None if retention is None else self._ticks(f"{where}: retention", retention),
            keep=None if common.keep is None else self._ticks(f"{where}: keep", common.keep),
        )

    def _identity(self, source: SourceType, options: msgspec.Struct, where: str) -> Mapping[str, str]:
        for key, found, expected in source.check(options):
            self._wrong(f"{where}: {key}", found, expected)
        try:
            return {"cloud": self._cloud, **source.identity(options, self._tenant_id)}
        except ValueError as error:
            self._wrong(where, "no way to tell whose data it would be", str(error))
            return {}

    def _resolved(self, entry: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
        """Yield an entry's keys and values, app settings and files read in."""
        for key, given in entry.items():
            value = given
            if isinstance(given, str) and (match := _SETTING.fullmatch(given)):
                value = self._environ.get(match[1], "").strip()
                if not value:
                    found = f"{given}, but no app setting {match[1]}"
                    self._wrong(f"{where}: {key}", found, f"the app setting {match[1]}")
            if not key.endswith("_file"):
                yield key, value
                continue
            text_key = key.removesuffix("_file")
            yield text_key, self._file(f"{where}: {key}", value)
            if text_key in entry:
                self._wrong(f"{where}: {key}", "both", f"{text_key} or {key}, not both")

    def _file(self, where: str, value: object) -> str:
        """Return the text of a file beside the exports file."""
        folder = self._path.parent.resolve()
        try:
            path = (folder / str(value)).resolve()
            if not path.is_relative_to(folder):
                raise ValueError("a path outside the exports file's folder")
            return path.read_text("utf-8-sig")
        except (OSError, ValueError) as error:  # UnicodeDecodeError too, and a path that cannot be one
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._wrong(where, f"{value!r}: {reason}", "a UTF-8 text file in the exports file's folder")
            return ""

    def _struct(self, type_: type[_Struct], values: Mapping[str, Any], where: str) -> _Struct | None:
        """Convert a table key by key, so that every mistake is found and not only the first."""
        before = len(self.problems)
        known = {info.encode_name: info for info in msgspec.structs.fields(type_)}
        for key in (key for key in values if key not in known):
            self._wrong(
                f"{where}: {key}",
                "an unknown key",
                "one of " + ", ".join([*_Common.__struct_fields__, *known]),
            )
        converted: dict[str, Any] = {}
        for key, info in known.items():
            if key not in values:
                if info.required:
                    self._wrong(f"{where}: {key}", "nothing", "a value")
                continue
            try:
                converted[info.name] = msgspec.convert(values[key], info.type)
            except msgspec.ValidationError as error:
                self._wrong(f"{where}: {key}", repr(values[key]), str(error))
        return type_(**converted) if len(self.problems) == before else None

    def _ticks(self, where: str, text: str) -> int:
        try:
            return parse_duration(text)
        except ValueError as error:
            self._wrong(where, repr(text), str(error))
            return 1

    def _start(self, where: str, text: str) -> int:
        """Return a relative start as negative ticks, an absolute one as its tick."""
        try:
            if text.startswith("-"):
                return -max(1, parse_duration(text[1:]))  # 0 would be the year 1
            ticks = parse_instant(text)
            if ticks % SECOND:
                raise ValueError("a start lies on a whole second")
        except ValueError as error:
            self._wrong(where, repr(text), f"a duration before now such as '-24h', or an instant ({error})")
            return 0
        else:
            return ticks
