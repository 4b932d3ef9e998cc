"""Reads the rows of one on-demand question: whole, or, where the query works row by row, in slices."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from shared import kql, parameters
from shared.errors import AnswerTooLargeError, ProtocolError, ServiceError
from shared.la_options import ROW_WISE, check_pipeline, check_table
from shared.log_reader import LogReader, portions
from shared.model import Batch, Tools
from shared.query_api import Answer, Route, ask, to_workspace
from shared.question import Question
from shared.window_kql import Selection

_TAKEN = ("window_start", "window_end")
"""The names that a slice's bounds have in its query."""

_TYPES = set(parameters.TYPES)
_GRACE = 5
LONGEST_SECONDS = 480
"""How long one query may compute here: a function may run for 600 seconds (host.json)."""
_ADVICE = (
    "ask for less (a shorter time, fewer columns, a summary); or for the rows of one table, "
    "without top and through where, extend, project, parse and mv-expand only, which are read in parts"
)


def cut(question: Question) -> Selection | None:
    """Return what a question selects, if it can be asked for in slices of its time.

    That is one table's rows, each through row-wise operators, after constants. None where rows are
    aggregated, sorted, joined or limited, and where a part could give them otherwise than the whole.
    """
    # The parameters, of which there may be a megabyte, are constants by construction: only their names count.
    declared = parameters.declared(question.constants)
    if question.top is not None or any(kql.uses(question.query, name) for name in _TAKEN):
        return None
    *lets, last = kql.statements(question.query)
    first, *rest = kql.tokens(last)
    table, pipeline = first.text, last[rest[0].end :].strip() if rest else ""
    constants = {*declared, *map(_constant, lets)}
    plain = constants.isdisjoint({None, table, *_TAKEN}) and (not rest or rest[0].text == "|")
    wrong = [*check_table(table), *check_pipeline(pipeline or None, ROW_WISE)]
    if not plain or wrong or kql.reads_tables(pipeline) or kql.looks_up(pipeline, {*constants, *_TYPES}):
        return None
    return Selection(
        table=table,
        pipeline=pipeline or None,
        window_column="TimeGenerated",
        prelude=question.constants + "".join(f"{let};\n" for let in lets),
        timespan=question.span,
    )


def _constant(statement: str) -> str | None:
    """Return the name that a statement gives to a literal; None for any other statement."""
    found = list(kql.tokens(statement))
    texts = [token.text for token in found]
    if len(texts) < 4 or texts[0] != "let" or texts[2] != "=":
        return None
    at = 4 if texts[3] == "-" else 3
    value = texts[at:]
    single = len(value) == 1 and (found[at].kind in {"string", "number"} or value[0] in {"true", "false"})
    typed = len(value) > 2 and value[0] in _TYPES and value[1] == "(" and value[-1] == ")"
    plain = kql.calls(statement) <= _TYPES and "|" not in value
    return texts[1] if plain and (single or (typed and value.count(")") == 1)) else None


@dataclass(frozen=True, slots=True)
class QueryReader:
    """Reads questions with some tools."""

    tools: Tools

    def ask(
        self,
        question: Question,
        query_id: str,
        *,
        rows: int | None,
        wait: int,
        deadline: float,
    ) -> Answer:
        """Ask the whole question at once, for so many ``rows`` at most (None: all), within ``wait`` seconds.

        Raises AnswerTooLargeError where the service refuses or needs longer.
        """
        query = question.query if rows is None else f"{kql.without_render(question.query)}\n| take {rows}"
        return self._ask(question, question.constants + query, query_id, wait=wait, deadline=deadline)

    def total(self, question: Question, query_id: str, *, wait: int, deadline: float) -> int:
        """Return how many rows the question has without its ``top``."""
        text = f"{question.constants}{kql.without_render(question.query)}\n| count"
        answer = self._ask(question, text, query_id, wait=wait, deadline=deadline)
        if answer.partial is not None:
            raise answer.partial
        try:
            return sum(msgspec.json.decode(row, type=tuple[int])[0] for row in answer.rows)  # of 204: none
        except msgspec.MsgspecError as error:
            raise ProtocolError("Log Analytics did not answer a count with a number") from error

    def read(self, question: Question, query_id: str, deadline: float) -> Iterator[Batch]:
        """Yield all rows of a question, however long that takes until the deadline.

        Raises AnswerTooLargeError with advice where it is too much to be asked at once and cannot be cut.
        """
        selection = cut(question)
        if selection is not None and self._sliceable(question, selection, query_id, deadline):
            yield from LogReader(self._route(question, query_id), selection, self.tools).read(
                question.span, deadline, None
            )
            return
        left = int(deadline - self.tools.clock.monotonic()) - _GRACE  # for the answer, and for what says no
        wait = max(1, min(LONGEST_SECONDS, left))
        try:
            answer = self.ask(question, query_id, rows=question.top, wait=wait, deadline=deadline)
            if answer.partial is not None:
                raise answer.partial
        except AnswerTooLargeError as error:
            raise AnswerTooLargeError.of(error, _ADVICE) from error
        yield from portions(batch_of(answer))

    def _sliceable(self, question: Question, selection: Selection, query_id: str, deadline: float) -> bool:
        """Whether what looks like a table has a time, in every row, by which it can be cut.

        The timespan bounds the rows of tables. A stored function may have made others of them, such as one
        for each hour, of which the first begins before the time that is asked for.
        """
        start, end = (kql.instant(edge) for edge in (question.start, question.end))
        text = (
            f"{selection.prelude}{kql.name(selection.table or '')}\n"
            f"| where isnull(TimeGenerated) or TimeGenerated < {start} or TimeGenerated > {end}\n| take 1"
        )
        try:
            answer = self._ask(question, text, query_id, wait=60, deadline=deadline)
        except AnswerTooLargeError:  # what takes so long is best asked for in parts
            return True
        except ServiceError as error:
            if error.status == 400:  # the whole query says better what is wrong, if anything is
                return False
            raise
        return not answer.rows and answer.partial is None

    def _ask(self, question: Question, text: str, query_id: str, *, wait: int, deadline: float) -> Answer:
        route = self._route(question, query_id)
        return ask(
            self.tools.connect(route.api),
            route,
            {"query": text, "timespan": question.timespan},
            wait=wait,
            deadline=deadline,
        )

    @staticmethod
    def _route(question: Question, query_id: str) -> Route:
        return replace(to_workspace(question.workspace), client_request_id=query_id)


def batch_of(answer: Answer, rows: int | None = None) -> Batch:
    """Return an answer's rows, or the first so many, as a batch."""
    return Batch(
        rows=answer.rows if rows is None else answer.rows[:rows],
        columns=answer.columns,
        answer_bytes=answer.answer_bytes,
        statistics=answer.statistics,
        request_id=answer.request_id,
    )
