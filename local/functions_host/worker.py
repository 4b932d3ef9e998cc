"""The adapter to `azure_functions_runtime`, the library that runs Python functions in production.

Indexing, conversion of arguments and results, the thread pool for `def` and the event loop for `async def`
are that library's; this module only speaks to it. `native_invocation` is not among its public names, so its
version is pinned in requirements-local.txt.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import threading
import traceback
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from local.functions_host.catalogue import Declared
from local.functions_host.settings import HostError

logger = logging.getLogger("local.functions_host")

T = TypeVar("T")


@dataclass(frozen=True)
class Datum:
    """A value on its way in or out, with the name of the kind that the library's converters look at."""

    value: Any
    type: str | None


@dataclass(frozen=True)
class Result:
    """What an invocation gave: the data of its outputs, or the exception's text and traceback."""

    ok: bool
    returned: Datum | None = None
    outputs: Mapping[str, Datum] = field(default_factory=dict)
    error: str = ""
    traceback: str = ""


class Worker:
    """An indexed app and the event loop it runs on. Only one per process: the library's state is global."""

    def __init__(self, app_dir: Path) -> None:
        """Import and index the app; raises `HostError` with the app's traceback where that fails."""
        runtime = importlib.import_module("azure_functions_runtime")
        native = importlib.import_module("azure_functions_runtime.native_invocation")
        self._invoke = native.invocation_request_native
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="functions", daemon=True).start()
        runtime.start_threadpool_executor()
        sys.path.insert(0, str(app_dir))
        self.declared = self._wait(_index(runtime, app_dir), None)

    def invoke(
        self,
        invocation_id: str,
        function_id: str,
        inputs: Mapping[str, Datum],
        metadata: Mapping[str, Datum],
        timeout: float | None,
    ) -> Result:
        """Run one function and wait. Raises `TimeoutError` after `timeout` seconds; the function goes on."""
        call = self._guarded(invocation_id, function_id, inputs, metadata)
        return self._wait(call, timeout)

    async def _guarded(
        self, invocation_id: str, function_id: str, inputs: Mapping[str, Datum], metadata: Mapping[str, Datum]
    ) -> Result:
        try:
            ok, returned, outputs, error, trace = await self._invoke(
                invocation_id, function_id, list(inputs.items()), dict(metadata)
            )
        except BaseException as escaped:  # noqa: BLE001 - a function's sys.exit() must not end the event loop
            return Result(ok=False, error=repr(escaped), traceback=traceback.format_exc())
        return Result(
            ok,
            Datum(returned.value, returned.type) if returned is not None else None,
            {name: Datum(datum.value, datum.type) for name, datum in outputs},
            error or "",
            trace or "",
        )

    def _wait(self, work: Coroutine[Any, Any, T], timeout: float | None) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)


async def _index(runtime: Any, app_dir: Path) -> tuple[Declared, ...]:
    request = SimpleNamespace(
        request=SimpleNamespace(
            worker_init_request=SimpleNamespace(capabilities={}, function_app_directory=str(app_dir))
        ),
        properties={"host": "127.0.0.1", "protos": _PROTOS},
    )
    answer = await runtime.worker_init_request(request)
    if answer.result.status != _StatusResult.Success:
        failure = answer.result.exception
        raise HostError(f"The app in {app_dir} could not be loaded.\n{failure.stack_trace.rstrip()}")
    metadata = (await runtime.functions_metadata_request(request)).function_metadata_results
    if not metadata:
        raise HostError(
            f"No functions found in {app_dir}: it must have a function_app.py that makes a FunctionApp."
        )
    for one in metadata:
        if one.retry_options is not None:
            logger.warning(
                "The retry policy of the function '%s' is not applied here, only on Azure", one.name
            )
    return tuple(Declared(one.name, one.function_id, tuple(one.raw_bindings)) for one in metadata)


class _Message(SimpleNamespace):
    """Stands for a protobuf message: the library only makes them and reads their fields."""


class _StatusResult(_Message):
    Failure, Success = 0, 1


class _BindingInfo(_Message):
    # Directions; the values are those of the Functions RPC protocol.
    out, inout, undefined = 1, 2, 0


_PROTOS = SimpleNamespace(
    BindingInfo=_BindingInfo,
    FunctionLoadResponse=_Message,
    FunctionMetadataResponse=_Message,
    RpcException=_Message,
    RpcFunctionMetadata=_Message,
    RpcRetryOptions=_Message,
    StatusResult=_StatusResult,
    WorkerInitResponse=_Message,
    WorkerMetadata=_Message,
)
