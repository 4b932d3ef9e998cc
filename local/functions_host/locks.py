"""Locks that keep one host at a time on a timer: leases on blobs, as the real host's singleton locks."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob import BlobLeaseClient, ContainerClient

from local.functions_host.storage import explain

logger = logging.getLogger("local.functions_host")


@dataclass
class Locks:
    """The locks of this host, renewed in the background until `release`.

    `period` is in seconds: so long a lock outlives a host that was killed. Leases last 15 to 60 seconds.
    """

    container: ContainerClient
    host_id: str
    period: float
    _held: dict[str, BlobLeaseClient] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _released: threading.Event = field(default_factory=threading.Event)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Begin to renew."""
        threading.Thread(target=self._renew, name="locks", daemon=True).start()

    def acquire(self, function: str) -> bool:
        """Try to get a function's lock; False while another host has it. Raises what storage raises."""
        if self.holds(function):
            return True
        blob = self.container.get_blob_client(f"locks/{self.host_id}/Host.Functions.{function}.Listener")
        try:
            if not blob.exists():
                blob.upload_blob(b"", overwrite=False)
        except ResourceExistsError:
            pass  # another host was faster, or has leased it
        try:
            lease = blob.acquire_lease(round(self.period))
        except ResourceExistsError:
            if function not in self._told:
                self._told.add(function)
                logger.info(
                    "The timer '%s' waits: another host runs it, or was killed less than %g s ago",
                    function, self.period,
                )  # fmt: skip
            return False
        with self._guard:
            self._held[function] = lease
            if self._released.is_set():
                self._give_back(function)
        return True

    def holds(self, function: str) -> bool:
        """Whether this host has the function's lock."""
        return function in self._held

    def release(self) -> None:
        """Give every lock back, so that the next host need not wait."""
        with self._guard:
            self._released.set()
            for function in list(self._held):
                self._give_back(function)

    def _give_back(self, function: str) -> None:
        try:
            self._held.pop(function).release()
        except AzureError as error:
            logger.debug("The lock of '%s' was not released: %s", function, explain(error))

    def _renew(self) -> None:
        while not self._released.wait(self.period / 3):
            with self._guard:
                for function, lease in list(self._held.items()):
                    try:
                        lease.renew()
                    except AzureError as error:
                        logger.warning("The lock of the timer '%s' was lost: %s", function, explain(error))
                        del self._held[function]
