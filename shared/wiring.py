"""Settings -> real objects, built when first needed."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shared.auditor import Auditor
from shared.auth import Tokens, build_credential
from shared.blob_store import BlobStore
from shared.clock import SystemClock
from shared.exporter import Exporter
from shared.formats import FORMATS
from shared.in_flight import Flights
from shared.journal import Journal
from shared.model import ApiName, Clock, Export, Send, Source, Tools
from shared.planner import Planner
from shared.query import Query
from shared.rechecker import Rechecker
from shared.rewriter import Rewriter
from shared.settings import Settings, load_settings
from shared.sources import SOURCES
from shared.state import State
from shared.transport import Transport


def read_settings(environ: Mapping[str, str], root: Path) -> Settings:
    """Read the app's settings; ``root`` is the folder that holds function_app.py. Raises SettingsError."""
    return load_settings(environ, root, SOURCES, FORMATS)


class App:
    """The parts of the app. Building them does no I/O: credentials and storage are reached on first use."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        clock = clock or SystemClock()
        transport = Transport(Tokens(settings.credential, clock), clock)

        def connect(api: ApiName) -> Send:
            return transport.sender(getattr(settings.cloud, api))

        tools = Tools(
            connect,
            ThreadPoolExecutor(settings.parallel_slices, thread_name_prefix="slice"),
            settings.parallel_slices,
            settings.answer_bytes,
        )

        def open_source(export: Export) -> Source:
            return SOURCES[export.source].open(export.options, tools)

        store = BlobStore(settings.storage, build_credential)
        data = store.container(settings.container)
        documents = store.container(f"{settings.container}-state")
        state, journal, flights = State(documents, clock), Journal(documents, clock), Flights(documents)
        exports = settings.exports
        self.planner = Planner(exports, SOURCES, settings.max_in_flight, data, state, journal, flights, clock)
        rewriter = Rewriter(SOURCES, open_source, FORMATS, data, state, clock)
        rechecker = Rechecker(SOURCES, open_source, data, state, journal, rewriter, clock)
        self.exporter = Exporter(
            exports, open_source, FORMATS, data, state, journal, rewriter, rechecker, clock
        )
        self.auditor = Auditor(
            exports, SOURCES, open_source, FORMATS, data, state, journal, flights, rechecker, clock
        )
        self.query = Query(connect("log_analytics"), clock)

    @property
    def workspaces(self) -> list[str]:
        """The workspaces that may be queried: the setting's first, then those of the exports."""
        of_exports = (export.identity.get("workspace") for export in self.settings.exports)
        return list(dict.fromkeys(each for each in (self.settings.workspace_id, *of_exports) if each))
