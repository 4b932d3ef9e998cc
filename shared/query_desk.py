"""The HTTP side of on-demand queries: a call comes in, a reply goes out."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from shared import replies, saved_queries
from shared.callers import Caller, read_caller
from shared.errors import BadRequestError, NotFoundError, RefusedError
from shared.model import Clock
from shared.query import Later, Query
from shared.query_formats import accepts_gzip
from shared.query_results import Results
from shared.query_settings import QuerySettings
from shared.query_status import QueryStatuses, status_of
from shared.question import Question, read_question
from shared.replies import Reply

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """An HTTP request: its body, its headers with lower-case names, its query parameters."""

    body: bytes
    headers: Mapping[str, str]
    parameters: Mapping[str, str]


class Desk:
    """Reads calls, has them carried out, and puts what comes of it into replies."""

    def __init__(
        self,
        settings: QuerySettings,
        query: Query,
        statuses: QueryStatuses,
        results: Results,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._query = query
        self._statuses = statuses
        self._results = results
        self._clock = clock

    def ask(self, call: Call, saved: str | None = None) -> tuple[Reply, str | None]:
        """Answer a question; with the reply, the id of a query that is to be put into the queue.

        ``saved`` is the name of a saved query, whose text the caller does not send.
        """
        caller = self._caller(call)
        try:
            question = self._question(call, saved)
        except (BadRequestError, NotFoundError, RefusedError) as error:
            self._query.refuse(caller, call.body, error)
            raise
        outcome = self._query.ask(question, caller)
        if isinstance(outcome, Later):
            reply = replies.promised(status_of(outcome.job, self._settings.result_days))
            return reply, outcome.job.id
        return replies.packed(replies.answered(outcome), call.headers), None

    def status(self, query_id: str, call: Call) -> Reply:
        """Tell how far a query is."""
        return replies.progress(self._statuses.status(query_id, self._caller(call)))

    def cancel(self, query_id: str, call: Call) -> Reply:
        """End a query, or forget one that has ended."""
        self._statuses.cancel(query_id, self._caller(call))
        return Reply(204)

    def result(self, query_id: str, call: Call) -> Reply:
        """Send a stored result, or its reader to where it is."""
        stored = self._statuses.result(query_id, self._caller(call))
        coded = accepts_gzip(call.headers.get("accept-encoding", ""))
        return replies.fetched(stored, self._results.fetch(stored, coded=coded), coded=coded)

    def saved(self) -> Reply:
        """List the saved queries."""
        return replies.saved(self._saved)

    def _question(self, call: Call, saved: str | None) -> Question:
        found = None
        if saved is not None:
            found = self._saved.queries.get(saved)
            if found is None:
                raise NotFoundError(f"there is no saved query {saved!r}; GET /api/queries lists them")
        elif not self._settings.free_text:
            raise RefusedError(403, "only saved queries may be asked here; GET /api/queries lists them")
        return read_question(call.body, call.headers, self._settings, self._clock.now(), found)

    def _caller(self, call: Call) -> Caller:
        return read_caller(call.headers, call.parameters, signed_in=self._settings.signed_in)

    @cached_property
    def _saved(self) -> saved_queries.SavedQueries:
        found = saved_queries.load(self._settings.folder)
        for mistake in found.problems:
            _log.error("saved query disabled by a mistake: %s", mistake)
        return found
