"""Queue triggers and outputs, through real hosts and Azurite."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from tests.host.harness import HostProcess, write_app

APP = """
import json
import logging
import pathlib
import time

import azure.functions as func

app = func.FunctionApp()


@app.queue_trigger(arg_name="message", queue_name="%QUEUE%", connection="AzureWebJobsStorage")
def work(message: func.QueueMessage) -> None:
    body = message.get_body().decode()
    logging.info("began %s", json.dumps({"body": body, "tries": message.dequeue_count}))
    if body == "wait":
        gate = pathlib.Path("gate")
        while not gate.exists():
            time.sleep(0.02)
    if body == "fail":
        raise RuntimeError("told to fail")
    logging.info("ended %s", json.dumps({"body": body}))
"""


def encoded(text: str | bytes) -> str:
    """Return a message as the default encoding has it."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def client(azurite: Azurite, name: str) -> QueueClient:
    """Return a client of a queue."""
    return QueueClient.from_connection_string(azurite.connection_string, name)


@pytest.fixture
def queue(azurite: Azurite) -> Iterator[QueueClient]:
    """A queue of its own for one test."""
    queue = client(azurite, f"q-{uuid4().hex[:12]}")
    queue.create_queue()
    with queue:
        yield queue


def host_for(
    folder: Path,
    azurite: Azurite,
    queue: QueueClient,
    *arguments: str,
    options: Mapping[str, object] | None = None,
) -> HostProcess:
    """Return a host whose function `work` listens to the queue."""
    queues = {"batchSize": 1, "newBatchThreshold": 0, "maxPollingInterval": "00:00:00.2", **(options or {})}
    app = write_app(folder, APP, {"extensions": {"queues": queues}})
    settings = {"AzureWebJobsStorage": azurite.connection_string, "QUEUE": queue.queue_name}
    return HostProcess(app, *arguments, settings=settings)


def test_message_is_complete_and_deleted_after_success(sample: HostProcess, azurite: Azurite) -> None:
    """The function sees all that the service tells; afterwards the queue is empty."""
    with client(azurite, "sample-work") as work:
        sent = work.send_message(encoded("complete"))
        sample.wait_until(lambda: any(one["body"] == "complete" for one in sample.records("work")))
        seen = next(one for one in sample.records("work") if one["body"] == "complete")
        assert seen["id"] == sent.id
        assert seen["dequeue_count"] == 1
        assert seen["insertion_time"] == str(sent.inserted_on)
        assert seen["expiration_time"] == str(sent.expires_on)
        assert seen["pop_receipt"] is True
        hidden_until = datetime.fromisoformat(seen["time_next_visible"])
        assert timedelta(seconds=540) < hidden_until - datetime.now(UTC) <= timedelta(seconds=600)
        sample.wait_until(lambda: work.get_queue_properties().approximate_message_count == 0)


def test_id_in_a_json_message_hides_the_messages_own(sample: HostProcess, azurite: Azurite) -> None:
    """As on Azure, a property of the body takes the place of what has its name."""
    with client(azurite, "sample-work") as work:
        work.send_message(encoded('{"id": "mine", "n": 1}'))
    sample.wait_until(lambda: any(one["id"] == "mine" for one in sample.records("work")))


def test_failed_message_is_tried_again_and_then_moved_to_the_poison_queue(
    sample: HostProcess, azurite: Azurite
) -> None:
    """MaxDequeueCount tries, each counted, and then the poison queue's function gets the message."""
    with client(azurite, "sample-work") as work:
        work.send_message(encoded("please fail"))
    sample.wait_until(lambda: {"body": "please fail"} in sample.records("poisoned"))
    tries = [one["dequeue_count"] for one in sample.records("work") if one["body"] == "please fail"]
    assert tries == [1, 2]
    sample.wait_for("MaxDequeueCount of 2. Moving message to queue 'sample-work-poison'")


def test_message_in_another_encoding_goes_to_the_poison_queue(sample: HostProcess, azurite: Azurite) -> None:
    """A message that is not base64 cannot be given to the function, and does not stop the queue."""
    with client(azurite, "sample-work") as work:
        work.send_message("not base64!")
        work.send_message(encoded("the one after"))
    sample.wait_for("not as messageEncoding says")
    sample.wait_until(lambda: any(one["body"] == "the one after" for one in sample.records("work")))


def test_outputs_are_sent_after_success(sample: HostProcess) -> None:
    """A list is one message an item; the other queue, its other connection and `$return` work alike."""
    marks = [f"{uuid4().hex}-{n}" for n in range(3)]
    answer = requests.post(f"{sample.url}/api/send", json={"many": marks[:2], "one": marks[2]}, timeout=30)
    assert answer.text == "sent"
    sample.wait_until(lambda: set(marks[:2]) <= {one["body"] for one in sample.records("work")})
    sample.wait_until(lambda: {"text": marks[2]} in sample.records("plain"))


def test_returned_value_is_sent(sample: HostProcess, azurite: Azurite) -> None:
    """`$return` of a queue function becomes a message, in a queue that is created for it."""
    with client(azurite, "sample-other") as other, client(azurite, "sample-returned") as returned:
        mark = uuid4().hex
        other.send_message(encoded(mark))
        sample.wait_for(f'"text": "{mark}"')
        expected = encoded(mark.upper())
        sample.wait_until(lambda: expected in contents(returned))


def test_outputs_of_a_failed_function_are_not_sent(sample: HostProcess) -> None:
    """What a function put out before it failed is dropped."""
    mark = uuid4().hex
    body = {"many": [mark], "one": mark, "fail": True}
    assert requests.post(f"{sample.url}/api/send", json=body, timeout=30).status_code == 500
    sentinel = uuid4().hex
    requests.post(f"{sample.url}/api/send", json={"many": [sentinel], "one": sentinel}, timeout=30)
    sample.wait_until(lambda: {"text": sentinel} in sample.records("plain"))
    sample.wait_until(lambda: any(one["body"] == sentinel for one in sample.records("work")))
    assert mark not in [one["body"] for one in sample.records("work")]
    assert {"text": mark} not in sample.records("plain")


def test_output_that_storage_refuses_fails_the_function(sample: HostProcess) -> None:
    """A message over 64 KiB, encoded, is refused by the service."""
    answer = requests.post(f"{sample.url}/api/send", json={"many": ["x" * 50_000]}, timeout=30)
    assert answer.status_code == 500
    sample.wait_for("Error while sending to the queue 'sample-work'")


def test_batch_size_and_threshold_bound_what_runs_at_once(
    tmp_path: Path, azurite: Azurite, queue: QueueClient
) -> None:
    """With a batch of 2 and a threshold of 0, the next two begin when both are done."""
    for _ in range(5):
        queue.send_message(encoded("wait"))
    options = {"batchSize": 2, "newBatchThreshold": 0}
    with host_for(tmp_path / "app", azurite, queue, options=options).started() as host:
        host.wait_for_records("began", 2)
        # Nothing else may begin while two run; a poll would come after 0.2 s at most.
        with pytest.raises(AssertionError):
            host.wait_for_records("began", 3, seconds=0.7)
        (tmp_path / "app" / "gate").touch()
        host.wait_for_records("ended", 5)


def test_running_message_stays_hidden_longer_than_asked_for(
    tmp_path: Path, azurite: Azurite, queue: QueueClient
) -> None:
    """The host renews: a function that takes longer than the invisibility gets its message once."""
    queue.send_message(encoded("wait"))
    app = tmp_path / "app"
    with host_for(
        app, azurite, queue, "--queue-invisibility", "3", options={"batchSize": 2}
    ).started() as host:
        host.wait_for_records("began")
        with pytest.raises(AssertionError):
            host.wait_for_records("began", 2, seconds=7)
        (app / "gate").touch()
        host.wait_for_records("ended")
        host.wait_until(lambda: queue.get_queue_properties().approximate_message_count == 0)
        assert len(host.records("began")) == 1


def test_message_of_a_killed_host_comes_back(tmp_path: Path, azurite: Azurite, queue: QueueClient) -> None:
    """After SIGKILL the message reappears when its invisibility is over, and is counted as tried."""
    app = tmp_path / "app"
    queue.send_message(encoded("wait"))
    with host_for(app, azurite, queue, "--queue-invisibility", "2").started() as host:
        host.wait_for_records("began")
        host.kill()
    (app / "gate").touch()
    with host_for(app, azurite, queue).started() as host:
        assert host.wait_for_records("began") == [{"body": "wait", "tries": 2}]
        host.wait_for_records("ended")


def test_message_that_kills_every_host_is_moved_without_another_try(
    tmp_path: Path, azurite: Azurite, queue: QueueClient
) -> None:
    """More tries than maxDequeueCount without a failure that anyone saw: straight to the poison queue."""
    queue.send_message(encoded("deadly"))
    for _ in range(2):
        assert queue.receive_message(visibility_timeout=1) is not None
        wait_for_visible(queue)
    with host_for(tmp_path, azurite, queue, options={"maxDequeueCount": 1}).started() as host:
        host.wait_for("MaxDequeueCount of 1. Moving message to queue")
        with client(azurite, f"{queue.queue_name}-poison") as poison:
            host.wait_until(lambda: contents(poison) == [encoded("deadly")])
        assert host.records("began") == []


def test_failed_message_waits_for_the_visibility_timeout(
    tmp_path: Path, azurite: Azurite, queue: QueueClient
) -> None:
    """VisibilityTimeout is the time between a failure and the next try."""
    queue.send_message(encoded("fail"))
    options = {"visibilityTimeout": "00:00:02", "maxDequeueCount": 2}
    with host_for(tmp_path, azurite, queue, options=options).started() as host:
        host.wait_for(r"Moving message to queue")
        lines = host.wait_for("INFO began", 2)
        first, second = (datetime.fromisoformat(line[1:24]) for line in lines)
        assert second - first >= timedelta(seconds=1)


def test_message_encoding_none_leaves_texts_alone(
    tmp_path: Path, azurite: Azurite, queue: QueueClient
) -> None:
    """With messageEncoding none the text in the queue is the message."""
    queue.send_message('{"plain": "text"}')
    with host_for(tmp_path, azurite, queue, options={"messageEncoding": "none"}).started() as host:
        assert host.wait_for_records("began")[0]["body"] == '{"plain": "text"}'


def test_two_hosts_share_a_queue_without_doing_a_message_twice(
    tmp_path: Path, azurite: Azurite, queue: QueueClient
) -> None:
    """Each message is run by one of the two."""
    bodies = [f"message {n}" for n in range(30)]
    options = {"batchSize": 2}
    with (
        host_for(tmp_path / "one", azurite, queue, options=options).started() as one,
        host_for(tmp_path / "two", azurite, queue, options=options).started() as two,
    ):
        for body in bodies:
            queue.send_message(encoded(body))
        one.wait_until(lambda: len(one.records("ended")) + len(two.records("ended")) >= len(bodies))
        done = [record["body"] for record in one.records("ended") + two.records("ended")]
    assert sorted(done) == sorted(bodies)


def test_queue_that_was_deleted_is_created_again(
    tmp_path: Path, azurite: Azurite, queue: QueueClient
) -> None:
    """A developer may empty the storage while the host runs."""
    with host_for(tmp_path, azurite, queue).started() as host:
        queue.delete_queue()
        host.wait_for("cannot be read: 404 QueueNotFound")
        host.wait_until(lambda: _sent(queue))
        host.wait_for_records("ended")


def contents(queue: QueueClient) -> list[str]:
    """Return the texts in a queue, none where there is no such queue yet."""
    try:
        return [message.content for message in queue.peek_messages(32)]
    except ResourceNotFoundError:
        return []


def wait_for_visible(queue: QueueClient) -> None:
    """Poll until a message can be taken again."""
    while not queue.peek_messages():
        pass


def _sent(queue: QueueClient) -> bool:
    try:
        queue.send_message(encoded("back"))
    except ResourceNotFoundError:
        return False
    return True
