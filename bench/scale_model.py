"""What Flex Consumption does with the app, as a simulation: `python -m bench.scale_model`.

A backlog of equal windows is worked off by instances that take one window each. What they share is simulated:
the service's places for running queries, its queue, its rate limit; and each instance's processor. Out comes
how many rows an hour that is, what a terabyte costs, and which of these is the bottleneck. The figures of
`Plan` and `Prices` are Azure's; those of `Load`, `Service` and `App` are measured or assumed. All of them can
be given: `python -m bench.scale_model --help`. Standard library only.
"""

import argparse
import heapq
import itertools
import sys
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from math import ceil

HOUR = 3600.0
TERABYTE = 1e12
_SHARED = ("running queries", "request rate", "processor")
ROWS_AN_ANSWER = 450_000
"""Nine tenths of the service's limit, for which the app cuts slices."""


@dataclass(frozen=True)
class Load:
    """What is exported. `answer_bytes_a_row` is of the service's JSON; the default is of ten columns."""

    rows_a_window: int = 1_000_000
    answer_bytes_a_row: int = 250

    @property
    def bytes_a_window(self) -> int:
        """The size of a window's answers."""
        return self.rows_a_window * self.answer_bytes_a_row


@dataclass(frozen=True)
class Service:
    """The query service. The limits are documented ("Azure Monitor service limits", 30 March 2026).

    `running` queries of one identity run at a time, `queued` wait, each for `queue_seconds` at most; an
    identity may send `requests` in `rate_seconds`. `start_seconds` and `megabytes_a_second` say how long a
    query holds its place; they are assumptions, for nothing is documented: measure your own workspace.
    """

    running: int = 5
    queued: int = 200
    queue_seconds: float = 180.0
    requests: int = 200
    rate_seconds: float = 30.0
    start_seconds: float = 1.0
    megabytes_a_second: float = 5.0


@dataclass(frozen=True)
class App:
    """The app as it is set, and what it needs on a core of the machine that it was measured on.

    A worker gives a window up after `deadline_seconds`, before `functionTimeout` would end it.

    `processor_seconds_a_megabyte` is of answers as JSON, `processor_seconds_a_window` of all the rest of a
    window: storage, queue, and Microsoft's runtime. The `storage_…` are calls for a window, and
    `storage_seconds` what each of them that must be waited for takes.
    """

    max_in_flight: int = 2
    parallel_slices: int = 2
    answer_megabytes: float = 32.0
    deadline_seconds: float = 540.0
    processor_seconds_a_megabyte: float = 0.009
    processor_seconds_a_window: float = 0.06
    storage_lists: int = 6
    storage_reads: int = 2
    storage_writes: int = 2
    queue_calls: int = 4
    storage_seconds: float = 0.015


@dataclass(frozen=True)
class Plan:
    """Flex Consumption ("Azure Functions Flex Consumption plan hosting").

    512 MB come with 0.25 of a core, 2,048 MB with one and 4,096 MB with two, of which one Python process
    uses one. Billed is from `least_seconds` on, in steps of `step_seconds`.
    """

    instances: int = 40
    memory_megabytes: int = 2048
    least_seconds: float = 1.0
    step_seconds: float = 0.1

    @property
    def cores(self) -> float:
        """What one process may use of the processor."""
        return min(1.0, self.memory_megabytes / 2048)


@dataclass(frozen=True)
class Prices:
    """US dollars, on demand, East US. Free grants are left out, and what is stored.

    Functions: as "Azure Functions pricing: Consumption vs. Flex Consumption" (modal.com, 22 May 2025) quotes
    the pricing page, whose stored copies have no figures. Storage: usual list prices of hot block blobs, LRS,
    and of queues; look them up in "Azure Blob Storage pricing" before you rely on them.
    """

    gigabyte_second: float = 0.000026
    million_executions: float = 0.40
    ten_thousand_writes: float = 0.055
    ten_thousand_lists: float = 0.055
    ten_thousand_reads: float = 0.0044
    ten_thousand_queue_calls: float = 0.004


@dataclass(frozen=True)
class Case:
    """All that a simulation needs."""

    load: Load = field(default_factory=Load)
    service: Service = field(default_factory=Service)
    app: App = field(default_factory=App)
    plan: Plan = field(default_factory=Plan)
    prices: Prices = field(default_factory=Prices)

    @property
    def slices(self) -> int:
        """How many answers a window takes."""
        by_bytes = self.load.bytes_a_window / (self.app.answer_megabytes * 2**20)
        return max(1, ceil(by_bytes), ceil(self.load.rows_a_window / ROWS_AN_ANSWER))

    @property
    def workers(self) -> int:
        """How many windows are worked on at a time: one an instance, and as many as are in flight."""
        return min(self.plan.instances, self.app.max_in_flight)


@dataclass(frozen=True)
class Outcome:
    """What came of a case. `used` says how much of the time each thing that is shared was busy, of 1."""

    case: Case
    rows_an_hour: float
    seconds_a_window: float
    dollars_a_terabyte: float
    throttled: int
    used: dict[str, float]

    @property
    def bottleneck(self) -> str:
        """What is busy all the time; where nothing is, more windows in flight would go faster."""
        if self.seconds_a_window > self.case.app.deadline_seconds:
            return "the time for a window"
        most = max(self.used, key=lambda name: self.used[name])
        return most if self.used[most] > 0.9 else "windows in flight"


class _Clock:
    """Simulated time. Its processes yield the seconds that they wait, or a `_Places` to take a place of."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, _Process]] = []
        self._order = itertools.count()

    def start(self, process: "_Process", after: float = 0.0) -> None:
        heapq.heappush(self._due, (self.now + after, next(self._order), process))

    def run(self) -> None:
        while self._due:
            self.now, _, process = heapq.heappop(self._due)
            for wish in process:
                if isinstance(wish, _Places):
                    if not wish.take(process):
                        break
                else:
                    self.start(process, wish)
                    break


class _Places:
    """So many places, given in the order in which they are asked for; tells how long they were taken."""

    def __init__(self, clock: _Clock, places: int) -> None:
        self._clock = clock
        self._places = self._free = places
        self._waiting: deque[_Process] = deque()
        self._taken = 0.0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self, process: "_Process") -> bool:
        """Give a place; where none is free the process is started again when it has one."""
        if self._free:
            self._free -= 1
            return True
        self._waiting.append(process)
        return False

    def leave(self, held: float) -> None:
        self._taken += held
        if self._waiting:
            self._clock.start(self._waiting.popleft())
        else:
            self._free += 1

    def share(self, seconds: float) -> float:
        return self._taken / (self._places * seconds)


_Process = Generator["float | _Places", None, None]


class _Simulation:
    def __init__(self, case: Case, windows: int) -> None:
        self.case = case
        self.clock = _Clock()
        self.service = _Places(self.clock, case.service.running)
        self.processors = [_Places(self.clock, 1) for _ in range(case.workers)]
        self.sent: deque[float] = deque()
        self.requests = 0
        self.throttled = 0
        self.left = windows
        self.lasted: list[float] = []

    def run(self) -> None:
        for processor in self.processors:
            self.clock.start(self._worker(processor))
        self.clock.run()

    def _worker(self, processor: _Places) -> _Process:
        """Take windows one after the other, as long as there are any."""
        while self.left:
            self.left -= 1
            began = self.clock.now
            yield from self._window(processor)
            self.lasted.append(self.clock.now - began)

    def _window(self, processor: _Places) -> _Process:
        app = self.case.app
        calls = app.storage_lists + app.storage_reads + app.storage_writes + app.queue_calls
        yield calls * app.storage_seconds
        yield from self._work(processor, app.processor_seconds_a_window)
        # Slices are read ahead, `parallel` at a time; the window goes on when the last of them is done.
        lanes = min(app.parallel_slices, self.case.slices)
        rest, running = iter(range(self.case.slices)), [lanes]
        done = _Places(self.clock, 0)

        def lane() -> _Process:
            for _ in rest:
                yield from self._slice(processor)
            running[0] -= 1
            if not running[0]:
                done.leave(0.0)

        for _ in range(lanes):
            self.clock.start(lane())
        yield done

    def _slice(self, processor: _Places) -> _Process:
        size = self.case.load.bytes_a_window / self.case.slices / 1e6
        service = self.case.service
        yield from self._request()
        yield self.service
        held = service.start_seconds + size / service.megabytes_a_second
        yield held
        self.service.leave(held)
        yield self.case.app.storage_seconds  # a block of what came
        yield from self._work(processor, size * self.case.app.processor_seconds_a_megabyte)

    def _request(self) -> _Process:
        """Send a request when the rate allows it, and the queue has room; else wait as a 429 says."""
        service = self.case.service
        while True:
            while self.sent and self.sent[0] <= self.clock.now - service.rate_seconds:
                self.sent.popleft()
            if len(self.sent) < service.requests and self.service.waiting < service.queued:
                self.sent.append(self.clock.now)
                self.requests += 1
                return
            self.throttled += 1
            oldest = self.sent[0] if self.sent else self.clock.now
            yield max(0.1, oldest + service.rate_seconds - self.clock.now)

    def _work(self, processor: _Places, seconds: float) -> _Process:
        yield processor
        held = seconds / self.case.plan.cores
        yield held
        processor.leave(held)


def simulate(case: Case, windows: int | None = None) -> Outcome:
    """Work off so many windows (by default enough to be steady), and say what came of it."""
    windows = windows or max(100, 20 * case.workers, 4_000 // case.slices)
    run = _Simulation(case, windows)
    run.run()
    seconds = run.clock.now
    running = run.service.share(seconds)
    rate = run.requests / seconds * case.service.rate_seconds / case.service.requests
    processor = sum(each.share(seconds) for each in run.processors) / len(run.processors)
    return Outcome(
        case=case,
        rows_an_hour=windows * case.load.rows_a_window / seconds * HOUR,
        seconds_a_window=sum(run.lasted) / windows,
        dollars_a_terabyte=_dollars(case, run.lasted) / (windows * case.load.bytes_a_window) * TERABYTE,
        throttled=run.throttled,
        used=dict(zip(_SHARED, (running, rate, processor), strict=True)),
    )


def _dollars(case: Case, lasted: Sequence[float]) -> float:
    """Return what windows cost that lasted so many seconds each: the functions, and the calls of storage."""
    plan, app, prices = case.plan, case.app, case.prices
    steps = (ceil(max(each, plan.least_seconds) / plan.step_seconds - 1e-9) for each in lasted)
    seconds = sum(steps) * plan.step_seconds
    writes = app.storage_writes + case.slices
    calls = (
        app.storage_lists * prices.ten_thousand_lists
        + app.storage_reads * prices.ten_thousand_reads
        + writes * prices.ten_thousand_writes
        + app.queue_calls * prices.ten_thousand_queue_calls
    ) / 10_000
    return seconds * plan.memory_megabytes / 1024 * prices.gigabyte_second + len(lasted) * (
        prices.million_executions / 1e6 + calls
    )


def cases() -> Iterable[tuple[str, Case]]:
    """Yield what the document shows: the defaults, larger settings, and where these stop helping."""
    base = Case()

    def case(
        in_flight: int, slices: int, answer: float = 32.0, memory: int = 2048, speed: float = 5.0
    ) -> Case:
        app = replace(base.app, max_in_flight=in_flight, parallel_slices=slices, answer_megabytes=answer)
        plan = replace(base.plan, memory_megabytes=memory)
        return replace(base, app=app, plan=plan, service=replace(base.service, megabytes_a_second=speed))

    yield "defaults: 2 in flight × 2 slices of 32 MB", base
    yield "the same on 512 MB", case(2, 2, memory=512)
    yield "1 × 4 of 16 MB on 512 MB", case(1, 4, 16, 512)
    yield "1 × 4", case(1, 4)
    yield "1 × 4 of 48 MB", case(1, 4, 48)
    yield "2 × 3", case(2, 3)
    yield "4 × 1", case(4, 1)
    yield "4 × 2", case(4, 2)
    yield "10 × 2", case(10, 2)
    for speed in (0.5, 1.0, 2.0, 10.0, 20.0):
        yield f"1 × 4, a service of {speed:g} MB/s a query", case(1, 4, speed=speed)
    small = Load(rows_a_window=2_000, answer_bytes_a_row=510)
    yield "2,000 rows a window, defaults on 512 MB", replace(case(2, 2, memory=512), load=small)
    quick = replace(base.service, start_seconds=0.3)
    yield "the same, 20 × 1, 0.3 s a query", replace(case(20, 1, memory=512), load=small, service=quick)


def table(found: Iterable[tuple[str, Outcome]]) -> str:
    """Return outcomes as a Markdown table."""
    heads = ("case", "million rows/h", "GB/h", "s a window", "$ a TB", *_SHARED, "bottleneck")
    lines = [f"| {' | '.join(heads)} |", "|---|---:|---:|---:|---:|---:|---:|---:|---|"]
    for name, outcome in found:
        size = outcome.rows_an_hour * outcome.case.load.answer_bytes_a_row / 1e9
        shares = " | ".join(f"{share:.0%}" for share in outcome.used.values())
        lines.append(
            f"| {name} | {outcome.rows_an_hour / 1e6:,.1f} | {size:,.1f} | {outcome.seconds_a_window:,.1f} | "
            f"{outcome.dollars_a_terabyte:,.2f} | {shares} | {outcome.bottleneck} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate one case with figures of one's own, or without any, those of the document."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale_model")
    groups: dict[str, type] = {"load": Load, "service": Service, "app": App, "plan": Plan, "prices": Prices}
    for type_ in groups.values():
        for each in fields(type_):
            parser.add_argument(
                f"--{each.name.replace('_', '-')}", type=type(each.default), help=f"{each.default}"
            )
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    if not given:
        print(table((name, simulate(case)) for name, case in cases()))
        return 0
    parts = {
        name: type_(**{each.name: given[each.name] for each in fields(type_) if each.name in given})
        for name, type_ in groups.items()
    }
    print(table([("as given", simulate(Case(**parts)))]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
