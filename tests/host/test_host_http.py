"""HTTP functions and the admin addresses, through a real host."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import requests

from tests.host.harness import HostProcess


def test_request_reaches_the_function_whole_and_its_answer_comes_back(sample: HostProcess) -> None:
    """Method, address, query, route, headers and body go in; status, headers, cookie and body come out."""
    answer = requests.post(
        f"{sample.url}/api/echo/a%20b%2Fc/7?x=1&x=2&empty=&y=%C3%BC", data="bödy".encode(),
        headers={"X-Mine": "mine"}, timeout=30,
    )  # fmt: skip
    seen = answer.json()
    assert (answer.status_code, answer.headers["x-answer"]) == (201, "yes")
    assert answer.headers["content-type"] == "application/json"
    assert answer.cookies["a"] == "b"
    assert seen["method"] == "POST"
    assert seen["url"] == f"{sample.url}/api/echo/a%20b%2Fc/7?x=1&x=2&empty=&y=%C3%BC"
    assert seen["params"] == {"x": "1,2", "y": "ü"}
    assert seen["route"] == {"first": "a b/c", "number": "7"}
    assert seen["headers"]["x-mine"] == "mine"
    assert seen["body"] == "bödy"


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/api/ECHO/Literal", 200, "the literal one"),
        ("GET", "/api/files/a/b%20c/d.txt", 200, "a/b c/d.txt"),
        ("GET", "/api/files", 200, "nothing"),
        ("GET", "/api/same", 200, "got"),
        ("PUT", "/api/same/", 200, "put"),
        ("GET", "/api/silent", 204, ""),
        ("PATCH", "/api/silent", 204, ""),
        ("GET", "/api/empty", 202, ""),
        ("DELETE", "/api/same", 404, ""),
        ("HEAD", "/api/same", 404, ""),
        ("GET", "/api/echo/a/not-a-number", 404, ""),
        ("GET", "/api/echo", 404, ""),
        ("GET", "/api", 404, ""),
        ("GET", "/", 404, ""),
        ("GET", "/same", 404, ""),
        ("GET", "/api/switched-off", 404, ""),
        ("GET", "/api/fails", 500, ""),
        ("GET", "/api/exits", 500, ""),
        ("GET", "/api/bad_header", 500, ""),
    ],
)
def test_route_and_method_decide_the_answer(
    sample: HostProcess, method: str, path: str, status: int, text: str
) -> None:
    """The most specific route answers; what no function serves is a bare 404, and a failure a bare 500."""
    answer = requests.request(method, sample.url + path, timeout=30)
    assert (answer.status_code, answer.text) == (status, text)
    assert "Allow" not in answer.headers


def test_failure_is_printed_with_its_traceback(sample: HostProcess) -> None:
    """The caller of a failing function learns nothing; the console shows where it failed."""
    sample.get("/api/fails")
    sample.wait_for(r"ERROR Executed 'Functions.fails' \(Failed, Id=[0-9a-f-]{36}, Duration=\d+ms\)")
    sample.wait_for(r"^ValueError: it broke")
    sample.wait_for(r'function_app.py", line \d+, in fails')


def test_log_lines_of_a_function_reach_the_console_with_time_and_level(sample: HostProcess) -> None:
    """Anything from INFO up, whatever the logger, and what is printed; the app runs in its own folder."""
    folder = sample.get("/api/logs").text
    assert "äpp 1" in folder
    line = sample.wait_for("a warning with ünicöde")[0]
    assert line.startswith("[20")
    assert line.split("] ", 1)[0].endswith("Z")
    assert "] WARNING a warning" in line
    sample.wait_for("^printed$")
    assert "a debug line" not in sample.text


def test_async_functions_and_the_context_work(sample: HostProcess) -> None:
    """The invocation id that the function sees is the one on the console."""
    name, invocation = sample.get("/api/coroutine").text.split()
    assert name == "coroutine"
    sample.wait_for(rf"Executed 'Functions.coroutine' \(Succeeded, Id={invocation}")


def test_requests_run_at_the_same_time(sample: HostProcess) -> None:
    """Two calls that wait for each other both return."""
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: sample.get("/api/meet").text, range(2)))
    assert sorted(answers) == ["0", "1"]


def test_head_gives_the_headers_only(sample: HostProcess) -> None:
    """A HEAD request that the function allows has a length and no body."""
    answer = requests.head(f"{sample.url}/api/echo/x", timeout=30)
    assert answer.status_code == 201
    assert int(answer.headers["Content-Length"]) > 0
    assert answer.content == b""


def test_chunked_body_is_read_whole_and_the_connection_is_kept(sample: HostProcess) -> None:
    """A body sent in pieces arrives in one, and the next request uses the same connection."""
    with requests.Session() as session:
        url = f"{sample.url}/api/echo/x"
        first = session.post(url, data=iter([b"one ", b"two ", b"x" * 100_000]), timeout=30)
        assert first.json()["body"] == "one two " + "x" * 100_000
        assert session.get(url, timeout=30).json()["body"] == ""
        assert first.headers.get("Connection") != "close"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 104857601\r\n\r\n", b" 413 "),
        (b"Content-Length: -1\r\n\r\n", b" 400 "),
        (b"Transfer-Encoding: gzip, chunked\r\n\r\n", b" 400 "),
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b" 400 "),
        (b"Transfer-Encoding: chunked\r\n\r\n6400001\r\n", b" 413 "),
    ],
)
def test_body_that_cannot_be_read_is_refused(sample: HostProcess, head: bytes, status: bytes) -> None:
    """A body over 100 MB, or of unclear length, is refused before it is read."""
    with socket.create_connection(("127.0.0.1", urlsplit(sample.url).port or 0), timeout=30) as connection:
        connection.sendall(b"POST /api/echo/x HTTP/1.1\r\nHost: localhost\r\n" + head)
        assert status in connection.recv(4096).splitlines()[0]


def test_admin_lists_the_functions_with_their_bindings(sample: HostProcess) -> None:
    """Every function is listed, those in error and switched off too."""
    functions = {one["name"]: one for one in sample.get("/admin/functions").json()}
    assert functions["echo"]["invoke_url_template"] == sample.url + "/api/echo/{first}/{number:int?}"
    assert functions["every_second"]["config"]["bindings"][0]["schedule"] == "%EVERY_SECOND%"
    assert functions["switched_off"]["isDisabled"] is True
    assert "'NOT_SET' is not set" in functions["no_setting"]["errors"][0]
    assert sample.get("/admin/functions/ECHO").json() == functions["echo"]
    assert sample.get("/admin/functions/no_setting/status").json() == {
        "errors": functions["no_setting"]["errors"]
    }


def test_admin_tells_of_the_host(sample: HostProcess) -> None:
    """Status and ping answer while the host runs."""
    status = sample.get("/admin/host/status").json()
    assert (status["id"], status["state"]) == ("sample", "Running")
    assert sample.get("/admin/host/ping").status_code == 200


def test_admin_runs_a_timer_in_the_background(sample: HostProcess) -> None:
    """202 at once; the function runs, and is not past due."""
    assert sample.run_by_hand("yearly").status_code == 202
    assert sample.wait_for_records("yearly") == [{"past_due": False}]
    sample.wait_for("Executing 'Functions.yearly' .*programmatically called via the host APIs")


def test_admin_runs_a_queue_function_on_the_message_given(sample: HostProcess) -> None:
    """The input is the message."""
    assert sample.run_by_hand("work", "message by hand").status_code == 202
    sample.wait_until(lambda: any(one["body"] == "message by hand" for one in sample.records("work")))


@pytest.mark.parametrize(
    ("function", "body", "status"),
    [
        ("nobody", '{"input": ""}', 404),
        ("yearly", "", 400),
        ("yearly", "not json", 400),
        ("yearly", '"text"', 400),
        ("echo", '{"input": ""}', 400),
        ("on_blob", '{"input": ""}', 400),
    ],
)
def test_admin_refuses_what_it_cannot_run(sample: HostProcess, function: str, body: str, status: int) -> None:
    """Unknown functions, bodies without JSON, and functions that are not run this way."""
    answer = requests.post(f"{sample.url}/admin/functions/{function}", data=body, timeout=30)
    assert answer.status_code == status


def test_console_lists_functions_like_core_tools(sample: HostProcess) -> None:
    """HTTP functions first with method and address, then the others by trigger, then those in error."""
    text = sample.text
    listed = text[: text.index("Host started")]
    assert f"\techo: [GET,POST,HEAD] {sample.url}/api/echo/{{first}}/{{number:int?}}\n" in listed
    assert f"\tfails: {sample.url}/api/fails\n" in listed
    assert "\tevery_second: timerTrigger\n" in listed
    assert "\twork: queueTrigger\n" in listed
    assert listed.index("Functions:") < listed.index("\techo:") < listed.index("\tat_startup: timerTrigger")
    assert "The following 2 functions are in error:" in listed
    assert "The retry policy of the function 'yearly' is not applied here" in listed
    assert "\tno_setting: the app setting 'NOT_SET' is not set" in listed
    assert "\ton_blob: the local host does not know the binding type 'blobTrigger'" in listed


def test_listening_is_on_loopback_only(sample: HostProcess) -> None:
    """No other address of the machine reaches the host."""
    port = urlsplit(sample.url).port or 0
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in addresses - {"127.0.0.1", "127.0.1.1"}:
        with socket.socket() as outside:
            outside.settimeout(1)
            assert outside.connect_ex((str(address), port)) != 0
    assert json.loads(sample.get("/admin/host/status").text)
