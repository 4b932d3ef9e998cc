"""Settings -> real objects, built when first needed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from shared.allocator import give_back_large_blocks
from shared.attempts import Attempts
from shared.auditor import Auditor
from shared.auth import Tokens, build_credential
from shared.blob_store import BlobStore
from shared.clock import SystemClock
from shared.exporter import Exporter
from shared.formats import FORMATS
from shared.in_flight import Flights
from shared.journal import Journal
from shared.model import ApiName, Clock, Container, Export, LinkingContainer, Send, Source, Tools
from shared.pacing import Pacer, intervals
from shared.planner import Planner
from shared.query import Query
from shared.query_audit import Audit
from shared.query_desk import Desk
from shared.query_jobs import Jobs
from shared.query_reader import QueryReader
from shared.query_results import Caps, Results
from shared.query_runner import QueryRunner
from shared.query_settings import QuerySettings
from shared.query_status import QueryStatuses
from shared.rechecker import Rechecker
from shared.rewriter import Rewriter
from shared.settings import Settings
from shared.sources import SOURCES
from shared.state import State
from shared.transport import Transport


class App:
    """The parts of the app. Building them does no I/O: credentials and storage are reached on first use.

    ``documents`` stands in for the state container.
    """

    def __init__(
        self, settings: Settings, clock: Clock | None = None, documents: Container | None = None
    ) -> None:
        give_back_large_blocks()
        self.settings = settings
        self.clock = clock = clock or SystemClock()
        pacer = Pacer(intervals(settings.graph_requests), clock)
        transport = Transport(Tokens(settings.credential, clock), clock, pacer)

        def connect(api: ApiName) -> Send:
            return transport.sender(getattr(settings.cloud, api))

        store = BlobStore(settings.storage, build_credential)
        data = store.container(settings.container)
        documents = documents or store.container(f"{settings.container}-state")
        self._tools = Tools(
            connect,
            ThreadPoolExecutor(settings.parallel_slices, thread_name_prefix="slice"),
            settings.parallel_slices,
            settings.answer_bytes,
            clock,
            documents,
        )

        self.attempts = attempts = Attempts(data, documents, clock)
        state, journal, flights = State(documents, clock), Journal(documents, clock), Flights(documents)
        exports = settings.exports
        self.planner = Planner(exports, SOURCES, settings.max_in_flight, data, state, journal, flights, clock)
        rewriter = Rewriter(SOURCES, self.open_source, FORMATS, data, attempts, state, clock)
        rechecker = Rechecker(SOURCES, self.open_source, data, state, journal, rewriter, clock)
        self.exporter = Exporter(
            exports, self.open_source, FORMATS, data, attempts, state, journal, rewriter, rechecker, clock
        )
        self.auditor = Auditor(
            exports, SOURCES, self.open_source, FORMATS, data, state, journal, flights, rechecker, clock
        )

        self._build_queries(settings.queries, store.container(f"{settings.container}-queries"))

    def open_source(self, export: Export) -> Source:
        """Return the source of an export."""
        return SOURCES[export.source].open(export.options, self._tools)

    def _build_queries(self, settings: QuerySettings, kept: LinkingContainer) -> None:
        # A pool of their own, so that exports never delay them.
        pool = ThreadPoolExecutor(self.settings.parallel_slices, thread_name_prefix="query-slice")
        reader, clock = QueryReader(replace(self._tools, pool=pool)), self.clock
        jobs, audit = Jobs(kept, clock), Audit(kept, clock)
        results = Results(kept, Caps(settings.rows, settings.bytes))
        query = Query(settings, reader, jobs, results, audit, clock)
        self.query_statuses = statuses = QueryStatuses(jobs, results, audit, clock, settings.result_days)
        self.desk = Desk(settings, query, statuses, results, clock)
        self.query_runner = QueryRunner(reader, jobs, results, audit, clock, settings.seconds)
