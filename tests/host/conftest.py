"""One host for the tests that do not stop it, with one app that has a function for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.azurite import Azurite
from tests.host.harness import HostProcess, write_app

SAMPLE = """
import asyncio
import json
import logging
import os
import sys
import threading
import time
import typing

import azure.functions as func

app = func.FunctionApp()
meeting = threading.Barrier(2)


@app.route("echo/{first}/{number:int?}", methods=["GET", "POST", "HEAD"])
def echo(req: func.HttpRequest) -> func.HttpResponse:
    answer = {
        "method": req.method, "url": req.url, "params": dict(req.params), "route": dict(req.route_params),
        "headers": dict(req.headers), "body": req.get_body().decode("utf-8", "replace"),
    }
    return func.HttpResponse(json.dumps(answer), status_code=201, mimetype="application/json",
                             headers={"X-Answer": "yes", "Set-Cookie": "a=b; Path=/"})


@app.route("echo/literal")
def echo_literal(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("the literal one")


@app.route("files/{*rest}")
def files(req: func.HttpRequest) -> str:
    return req.route_params.get("rest", "nothing")


@app.route("same", methods=["GET"])
def same_get(req: func.HttpRequest) -> str:
    return "got"


@app.route("same", methods=["PUT"])
def same_put(req: func.HttpRequest) -> str:
    return "put"


@app.function_name("silent")
@app.generic_trigger(arg_name="req", type="httpTrigger", route="silent")
def silent(req) -> None:
    return None


@app.route("empty")
def empty(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(status_code=202)


@app.route("fails")
def fails(req: func.HttpRequest) -> func.HttpResponse:
    raise ValueError("it broke")


@app.route("exits")
def exits(req: func.HttpRequest) -> func.HttpResponse:
    sys.exit(5)


@app.route("bad_header")
def bad_header(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("", headers={"X-Bad": "one\\r\\nX-Evil: two"})


@app.route("coroutine")
async def coroutine(req: func.HttpRequest, context: func.Context) -> str:
    await asyncio.sleep(0)
    return f"{context.function_name} {context.invocation_id}"


@app.route("meet")
def meet(req: func.HttpRequest) -> str:
    return str(meeting.wait(20))


@app.route("logs")
def logs(req: func.HttpRequest) -> str:
    logging.debug("a debug line")
    logging.getLogger("my.module").warning("a warning with %s", "\\u00fcnic\\u00f6de")
    print("printed")
    return os.getcwd()


@app.route("send", methods=["POST"])
@app.queue_output(arg_name="many", queue_name="%WORK_QUEUE%", connection="AzureWebJobsStorage")
@app.queue_output(arg_name="one", queue_name="Sample-Other", connection="OTHER_STORAGE")
def send(req: func.HttpRequest, many: func.Out[typing.List[str]], one: func.Out[str]) -> func.HttpResponse:
    document = req.get_json()
    many.set(document.get("many", []))
    if "one" in document:
        one.set(document["one"])
    if document.get("fail"):
        raise RuntimeError("after setting the outputs")
    return func.HttpResponse("sent")


@app.queue_trigger(arg_name="message", queue_name="%WORK_QUEUE%", connection="AzureWebJobsStorage")
def work(message: func.QueueMessage) -> None:
    body = message.get_body().decode()
    logging.info("work %s", json.dumps({
        "body": body, "id": message.id, "dequeue_count": message.dequeue_count,
        "insertion_time": str(message.insertion_time), "expiration_time": str(message.expiration_time),
        "time_next_visible": str(message.time_next_visible), "pop_receipt": bool(message.pop_receipt),
    }))
    if "fail" in body:
        raise RuntimeError("told to fail")


@app.queue_trigger(arg_name="message", queue_name="sample-work-poison", connection="AzureWebJobsStorage")
def work_poison(message: func.QueueMessage) -> None:
    logging.info("poisoned %s", json.dumps({"body": message.get_body().decode("latin-1")}))


@app.function_name("plain")
@app.queue_trigger(arg_name="text", queue_name="sample-other", connection="OTHER_STORAGE")
@app.queue_output(arg_name="$return", queue_name="sample-returned", connection="AzureWebJobsStorage")
def plain(text: str) -> str:
    logging.info("plain %s", json.dumps({"text": text}))
    return text.upper()


@app.timer_trigger(arg_name="timer", schedule="%EVERY_SECOND%")
def every_second(timer: func.TimerRequest) -> None:
    logging.info("second %s", json.dumps({"past_due": timer.past_due}))


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
@app.retry(strategy="fixed_delay", max_retry_count="1", delay_interval="00:00:01")
def yearly(timer: func.TimerRequest) -> None:
    logging.info("yearly %s", json.dumps({"past_due": timer.past_due}))


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True, use_monitor=False)
def at_startup(timer: func.TimerRequest) -> None:
    logging.info("startup %s", json.dumps({"past_due": timer.past_due}))


@app.timer_trigger(arg_name="timer", schedule="%NOT_SET%")
def no_setting(timer: func.TimerRequest) -> None: ...


@app.blob_trigger(arg_name="blob", path="in/{name}", connection="AzureWebJobsStorage")
def on_blob(blob: func.InputStream) -> None: ...


@app.route("switched-off")
def switched_off(req: func.HttpRequest) -> str:
    return "on"
"""

QUEUES = {"batchSize": 4, "newBatchThreshold": 2, "maxDequeueCount": 2, "maxPollingInterval": "00:00:00.2"}


@pytest.fixture(scope="session")
def sample(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    """A running host with the sample app, in a folder with a space and an umlaut in its name."""
    folder = tmp_path_factory.mktemp("sample äpp 1")
    settings = {
        "AzureWebJobsStorage": azurite.connection_string,
        "OTHER_STORAGE": azurite.connection_string,
        "WORK_QUEUE": "sample-work",
        "EVERY_SECOND": "* * * * * *",
        "AzureWebJobs.switched_off.Disabled": "true",
        "AzureFunctionsWebHost__hostid": "sample",
    }
    with HostProcess(
        write_app(folder, SAMPLE, {"extensions": {"queues": QUEUES}}), settings=settings
    ) as host:
        yield host.started()
