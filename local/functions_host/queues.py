"""Queue triggers, with the visibility, the retries and the poison queues of the real host.

As in "Azure Queue storage trigger for Azure Functions" (Microsoft Learn): a message is hidden while its
function runs, deleted when it succeeded, visible again after `visibilityTimeout` when it failed, and moved to
`{queue}-poison` after `maxDequeueCount` tries. One whose host was killed comes back when its time is over.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.queue import QueueClient
from azure.storage.queue import QueueMessage as StoredMessage

from local.functions_host.activity import Activity
from local.functions_host.catalogue import Function, QueueTrigger
from local.functions_host.invoker import Invoker
from local.functions_host.messages import decode, trigger_metadata
from local.functions_host.settings import QueueOptions
from local.functions_host.storage import Storage, create_queue, explain
from local.functions_host.worker import Datum

logger = logging.getLogger("local.functions_host")

FIRST_POLL = 0.1
"""Seconds before an empty queue is polled again; each further wait is longer, up to maxPollingInterval."""

POISON_SUFFIX = "-poison"

Wake = Callable[[str, str], None]
"""Tells whatever listens to this connection and queue in this host that there is a message."""


class QueueListener:
    """Polls the queue of one function and runs the function on each message."""

    def __init__(
        self,
        function: Function,
        trigger: QueueTrigger,
        storage: Storage,
        invoker: Invoker,
        activity: Activity,
        options: QueueOptions,
        invisibility: float,
        wake: Wake,
    ) -> None:
        """`invisibility` is how long, in seconds, a message stays hidden if this host dies; 600 on Azure."""
        self.key = (trigger.connection, trigger.queue)
        self._function = function
        self._trigger = trigger
        self._storage = storage
        self._queue = storage.queue(trigger.connection, trigger.queue)
        self._invoker = invoker
        self._activity = activity
        self._options = options
        self._invisibility = invisibility
        self._wake = wake
        self._changed = threading.Condition()
        self._running = 0
        self._woken = False
        self._stopping = False

    def start(self) -> None:
        """Create the queue where it does not exist, and begin to poll. Raises what storage raises."""
        create_queue(self._queue)
        threading.Thread(target=self._poll, name=f"poll {self._trigger.queue}", daemon=True).start()

    def wake(self) -> None:
        """Poll now: this host has just sent a message to the queue."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Take no further message."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _poll(self) -> None:
        wait = 0.0
        while self._ready_after(wait):
            longest = self._options.max_polling_interval
            try:
                with self._activity():
                    taken = self._take()
            except AzureError as error:
                logger.warning("The queue '%s' cannot be read: %s", self._trigger.queue, explain(error))
                if isinstance(error, ResourceNotFoundError):
                    self._recreate()
                wait = min(max(wait * 2, 1.0), longest)
            else:
                wait = 0.0 if taken else min(max(wait * 2, FIRST_POLL), longest)

    def _ready_after(self, seconds: float) -> bool:
        """Wait, at most until woken, and then until a batch may begin; False once the host stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._woken or self._stopping, seconds)
            threshold = self._options.new_batch_threshold
            self._changed.wait_for(lambda: self._running <= threshold or self._stopping)
            self._woken = False
            return not self._stopping

    def _take(self) -> int:
        pages = self._queue.receive_messages(
            messages_per_page=self._options.batch_size, visibility_timeout=max(1, round(self._invisibility))
        ).by_page()
        messages = list(next(pages, ()))
        for message in messages:
            with self._changed:
                self._running += 1
            self._activity.begin()
            threading.Thread(target=self._handle, args=(message,), daemon=True).start()
        return len(messages)

    def _recreate(self) -> None:
        """Somebody deleted the queue."""
        try:
            create_queue(self._queue)
        except AzureError as error:
            logger.warning("The queue '%s' cannot be created: %s", self._trigger.queue, explain(error))

    def _handle(self, message: StoredMessage) -> None:
        held = _Held(self._queue, message, self._invisibility)
        try:
            with held:
                self._process(held)
        except AzureError as error:
            # As with the real host, the message then comes back when it is no longer hidden.
            logger.warning("The message '%s' could not be finished: %s", message.id, explain(error))
        finally:
            self._activity.end()
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _process(self, held: _Held) -> None:
        message = held.message
        try:
            body = decode(message.content, base64=self._options.base64)
        except ValueError as error:
            self._move_to_poison(held, f"Message '{message.id}' is not as messageEncoding says ({error})")
            return
        tries = message.dequeue_count or 0
        # More tries than allowed without a failure that was seen: the host died each time.
        if tries > self._options.max_dequeue_count and self._poison_queue() is not None:
            self._move_to_poison(held, self._too_often)
            return
        result = self._invoker.run(
            self._function,
            Datum(body, "string" if isinstance(body, str) else "bytes"),
            reason=f"New queue message detected on '{self._trigger.queue}'.",
            metadata=trigger_metadata(message, body),
            details=f"MessageId: {message.id}, DequeueCount: {tries}, InsertedOn: {message.inserted_on}",
        )
        if result.ok:
            held.delete()
        elif self._poison_queue() is None:
            # The real host leaves a poison queue's message hidden, so that it does not fail in a tight loop.
            logger.warning("The message '%s' stays hidden for up to %g s", message.id, self._invisibility)
        elif tries >= self._options.max_dequeue_count:
            self._move_to_poison(held, self._too_often)
        else:
            held.release(self._options.visibility_timeout)

    def _poison_queue(self) -> QueueClient | None:
        name = self._trigger.queue + POISON_SUFFIX
        if self._trigger.queue.endswith(POISON_SUFFIX) or len(name) > 63:
            return None
        return self._storage.queue(self._trigger.connection, name)

    @property
    def _too_often(self) -> str:
        return f"Message has reached MaxDequeueCount of {self._options.max_dequeue_count}"

    def _move_to_poison(self, held: _Held, why: str) -> None:
        poison = self._poison_queue()
        if poison is None:
            return
        logger.warning("%s. Moving message to queue '%s'.", why, poison.queue_name)
        create_queue(poison)
        # Poison messages are for people to find: they do not expire.
        poison.send_message(held.message.content, time_to_live=-1)
        held.delete()
        self._wake(self._trigger.connection, poison.queue_name)


@dataclass
class _Held:
    """A message that this host has taken; it stays hidden as long as the block runs."""

    queue: QueueClient
    message: StoredMessage
    invisibility: float

    def __post_init__(self) -> None:
        self._receipt = self.message.pop_receipt
        self._lock = threading.Lock()
        self._done = threading.Event()

    def __enter__(self) -> None:
        threading.Thread(target=self._renew, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def delete(self) -> None:
        self._done.set()
        with self._lock:
            self.queue.delete_message(self.message.id, self._receipt)

    def release(self, seconds: float) -> None:
        self._done.set()
        with self._lock:
            self._hide(seconds)

    def _renew(self) -> None:
        while not self._done.wait(self.invisibility / 2):
            try:
                with self._lock:
                    if not self._done.is_set():
                        self._hide(max(1, self.invisibility))
            except ResourceNotFoundError:
                logger.warning("The message '%s' is no longer this host's", self.message.id)
                return
            except AzureError as error:
                logger.warning("The message '%s' may reappear early: %s", self.message.id, explain(error))

    def _hide(self, seconds: float) -> None:
        hidden = self.queue.update_message(self.message.id, self._receipt, visibility_timeout=round(seconds))
        self._receipt = hidden.pop_receipt
