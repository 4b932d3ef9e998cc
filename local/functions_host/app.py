"""Puts the host together, runs it until it is told to stop, and takes it apart in the right order."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TypeAlias

from azure.core.exceptions import AzureError

from local.functions_host import console
from local.functions_host.activity import Activity
from local.functions_host.admin import Admin
from local.functions_host.catalogue import Function, QueueTrigger, TimerTrigger, catalogue
from local.functions_host.http_functions import HttpFunctions
from local.functions_host.invoker import Invoker
from local.functions_host.locks import Locks
from local.functions_host.outputs import QueueSender
from local.functions_host.queues import QueueListener
from local.functions_host.server import Request, Response, Server
from local.functions_host.settings import HostConfig, HostError, load_host_config, load_local_settings
from local.functions_host.storage import Storage, create_container, explain, host_id
from local.functions_host.timers import StatusBlob, TimerListener
from local.functions_host.worker import Worker

logger = logging.getLogger("local.functions_host")

GRACE_SECONDS = 5.0
"""How long a stopping host waits for functions that still run."""

TIMED_OUT = 3
"""Exit code after a function took longer than functionTimeout."""

Listener: TypeAlias = QueueListener | TimerListener


@dataclass(frozen=True)
class Options:
    """The command line. `queue_invisibility` is in seconds; `port` None is local.settings.json's, or 7071."""

    app_dir: Path
    settings: Path
    port: int | None
    queue_invisibility: float


def run(options: Options) -> int:
    """Run the app until SIGINT or SIGTERM, or a function's time-out; return the exit code.

    Raises `HostError` where the app, its settings, its storage or the port do not let it start.
    """
    began = time.monotonic()
    port = load_local_settings(options.settings, os.environ)
    console.set_up(os.environ)
    config = load_host_config(options.app_dir, os.environ)
    os.chdir(options.app_dir)
    port = port if options.port is None else options.port
    activity = Activity()
    with _signals() as stop, Server(port, _not_ready, activity) as server:
        address = f"http://localhost:{server.server_port}"
        # What `func start` tells the app about where it runs.
        os.environ.setdefault("AZURE_FUNCTIONS_ENVIRONMENT", "Development")
        os.environ.setdefault("WEBSITE_HOSTNAME", f"localhost:{server.server_port}")
        host = _assemble(options, config, address, activity, stop)
        console.print_functions(host.functions, address, config.route_prefix)
        host.start()
        server.answer = host.answer
        threading.Thread(target=server.serve_forever, args=(0.1,), name="http", daemon=True).start()
        took = round((time.monotonic() - began) * 1000)
        logger.info("Host started (%dms) on %s. Press Ctrl+C to stop.", took, address)
        stop.wait()
        logger.info("Host stopping")
        server.stopping = True
        host.stop()
        server.shutdown()
    logger.info("Host stopped")
    return stop.exit_code


@dataclass
class Stop:
    """Whether the host is to end, and with which exit code."""

    exit_code: int = 0
    _asked: SimpleQueue[int] = field(default_factory=SimpleQueue)
    _set: bool = False

    def set(self, exit_code: int = 0) -> None:
        """End the host."""
        self.exit_code = self.exit_code or exit_code
        self._set = True
        self._asked.put(exit_code)  # safe in a signal handler, as an Event is not

    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._set

    def wait(self) -> None:
        """Return once the host is to end; in short waits, for Windows tells of Ctrl-C only between them."""
        while not self._set:
            with contextlib.suppress(Empty):
                self._asked.get(timeout=0.5)


@dataclass
class _Host:
    functions: list[Function]
    listeners: list[Listener]
    locks: Locks | None
    activity: Activity
    http: HttpFunctions
    admin: Admin
    stopping: bool = False

    def start(self) -> None:
        try:
            if self.locks:
                create_container(self.locks.container)
                self.locks.start()
            for listener in self.listeners:
                listener.start()
        except AzureError as error:
            raise HostError(
                f"The storage of the functions' triggers cannot be used: {explain(error)}\n"
                "Start Azurite, or correct AzureWebJobsStorage and the connections that the functions name."
            ) from error

    def answer(self, request: Request) -> Response:
        if self.stopping:
            return Response(503)
        if request.target.lower().startswith("/admin/"):
            return self.admin.answer(request)
        return self.http.answer(request)

    def stop(self) -> None:
        self.stopping = True
        for listener in self.listeners:
            listener.stop()
        if left := self.activity.wait_until_idle(GRACE_SECONDS):
            logger.warning("%d still running after %g s and cut off", left, GRACE_SECONDS)
        if self.locks:
            self.locks.release()


def _assemble(options: Options, config: HostConfig, address: str, activity: Activity, stop: Stop) -> _Host:
    worker = Worker(options.app_dir)
    functions = catalogue(worker.declared, os.environ)
    storage = Storage(os.environ)
    listeners: list[Listener] = []

    def wake(connection: str, queue: str) -> None:
        for listener in listeners:
            if isinstance(listener, QueueListener) and listener.key == (connection, queue):
                listener.wake()

    invoker = Invoker(
        worker,
        send=QueueSender(storage, config.queues.base64, wake),
        timeout=config.function_timeout,
        on_timeout=lambda: stop.set(TIMED_OUT),
    )
    name = host_id(options.app_dir, os.environ)
    timed = any(isinstance(f.trigger, TimerTrigger) and f.runs for f in functions)
    locks = Locks(storage.host_container(), name, config.listener_lock) if timed else None
    for function in functions:
        match function.trigger if function.runs else None:
            case QueueTrigger() as trigger:
                queue = QueueListener(
                    function, trigger, storage, invoker, activity, config.queues,
                    invisibility=options.queue_invisibility, wake=wake,
                )  # fmt: skip
                listeners.append(queue)
            case TimerTrigger() as trigger if locks:
                blob = StatusBlob(locks.container, name, function.name)
                listeners.append(TimerListener(function, trigger, blob, locks, invoker, activity))
    return _Host(
        functions, listeners, locks, activity,
        HttpFunctions(functions, config.route_prefix, address, invoker),
        Admin(functions, invoker, activity, name, address, config.route_prefix),
    )  # fmt: skip


def _not_ready(_: Request) -> Response:
    return Response(503)


@contextmanager
def _signals() -> Iterator[Stop]:
    """Turn the signals that ask a process to end into `Stop`; a second one ends it at once."""
    stop = Stop()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    names = [name for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), handle) for name in names}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def leave(exit_code: int) -> None:
    """End the process even where a function's thread goes on: what must last is in storage."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
