"""Settings -> real objects, built when first needed."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shared.auth import Tokens, build_credential
from shared.blob_store import BlobStore
from shared.clock import SystemClock
from shared.exporter import Exporter
from shared.formats import FORMATS
from shared.model import ApiName, Clock, Export, Send, Source, Tools
from shared.planner import Planner
from shared.query import Query
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
        state = State(store.container(f"{settings.container}-state"), clock)
        forgetting = [name for name, source in SOURCES.items() if source.forgets]
        self.planner = Planner(settings.exports, forgetting, settings.max_in_flight, data, state, clock)
        self.exporter = Exporter(settings.exports, open_source, FORMATS, data, state, clock)
        self.query = Query(connect("log_analytics"), clock)

    @property
    def workspaces(self) -> list[str]:
        """The workspaces that may be queried: the setting's first, then those of the exports."""
        of_exports = (export.identity.get("workspace") for export in self.settings.exports)
        return list(dict.fromkeys(each for each in (self.settings.workspace_id, *of_exports) if each))
