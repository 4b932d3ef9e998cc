"""Runs a function as the host does: says so, waits no longer than allowed, sends what it put out."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from local.functions_host.catalogue import Function, QueueOutput
from local.functions_host.worker import Datum, Result, Worker

logger = logging.getLogger("local.functions_host")

Send = Callable[[QueueOutput, Datum], None]
"""Sends what a queue output holds."""


@dataclass(frozen=True)
class Invoker:
    """Runs functions of one app.

    `timeout` is host.json's functionTimeout in seconds, or None. A thread cannot be ended from outside, so
    after a function that took longer `on_timeout` ends the host, as the real host then ends its worker.
    """

    worker: Worker
    send: Send
    timeout: float | None
    on_timeout: Callable[[], None]

    def run(
        self,
        function: Function,
        data: Datum,
        *,
        reason: str,
        metadata: Mapping[str, Datum] | None = None,
        details: str = "",
    ) -> Result:
        """Run the function with its trigger's `data` and wait; a failure is printed and returned."""
        assert function.trigger is not None  # noqa: S101 - functions in error have no listeners
        invocation = str(uuid.uuid4())
        name = f"Functions.{function.name}"
        logger.info("Executing '%s' (Reason='%s', Id=%s)", name, reason, invocation)
        if details:
            logger.info("Trigger Details: %s", details)
        started = time.monotonic()
        try:
            inputs = {function.trigger.parameter: data}
            result = self.worker.invoke(invocation, function.id, inputs, metadata or {}, self.timeout)
            result = self._send(function, result)
        except TimeoutError:
            limit = timedelta(seconds=self.timeout or 0)
            result = Result(ok=False, error=f"Timeout value of {limit} exceeded by function '{name}'.")
            self.on_timeout()
        duration = round((time.monotonic() - started) * 1000)
        if result.ok:
            logger.info("Executed '%s' (Succeeded, Id=%s, Duration=%dms)", name, invocation, duration)
        else:
            text = result.traceback.rstrip() or result.error
            logger.error("Executed '%s' (Failed, Id=%s, Duration=%dms)\n%s", name, invocation, duration, text)
        return result

    def _send(self, function: Function, result: Result) -> Result:
        if not result.ok:
            return result
        for output in function.outputs:
            datum = result.returned if output.parameter == "$return" else result.outputs.get(output.parameter)
            if isinstance(output, QueueOutput) and datum is not None:
                try:
                    self.send(output, datum)
                except Exception as error:  # noqa: BLE001 - whatever storage says, the function failed
                    text = f"Error while sending to the queue '{output.queue}': {error}"
                    return replace(result, ok=False, error=text)
        return result
