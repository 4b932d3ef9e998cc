"""HTTP triggers: from a request to the function's arguments, and from its result to the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from local.functions_host.catalogue import Function, HttpOutput, HttpTrigger
from local.functions_host.invoker import Invoker
from local.functions_host.routing import find
from local.functions_host.server import Request, Response
from local.functions_host.worker import Datum, Result

REASON = "This function was programmatically called via the host APIs."


@dataclass(frozen=True)
class HttpFunctions:
    """Answers what is below the route prefix. `address` is this host's own: http://localhost:7071."""

    functions: Sequence[Function]
    route_prefix: str
    address: str
    invoker: Invoker

    def answer(self, request: Request) -> Response:
        """Run the function that path and method belong to: a bare 404 without one, as on Azure.

        That is so also where only the method differs; who wants 405 there serves every method, and answers
        it. A function that failed is 500 with nothing said, as on Azure; the console has the reason.
        """
        path = _below(self.route_prefix, urlsplit(request.target).path)
        served = [f for f in self.functions if f.runs]
        routes = [
            (f.trigger.route, f)
            for f in served
            if isinstance(f.trigger, HttpTrigger) and f.trigger.takes(request.method)
        ]
        matches = find(routes, path) if path is not None else []
        if not matches:
            return Response(404)
        function, parameters = matches[0]
        data = request_data(request, self.address, parameters)
        return response_of(function, self.invoker.run(function, data, reason=REASON))


def request_data(request: Request, address: str, parameters: Mapping[str, str]) -> Datum:
    """Return what `func.HttpRequest` is made from, as the host sends it to a Python worker.

    Values of a name that occurs more than once are joined by commas, and a query parameter without a value is
    left out; the body is always bytes.
    """
    query: dict[str, str] = {}
    for name, value in parse_qsl(urlsplit(request.target).query, keep_blank_values=True):
        query[name] = f"{query[name]},{value}" if name in query else value
    host = request.headers.get("host")
    origin = f"http://{host}" if host else address
    return Datum(
        {
            "method": Datum(request.method, "string"),
            "url": Datum(origin + request.target, "string"),
            "headers": _strings(request.headers),
            "query": _strings({name: value for name, value in query.items() if value}),
            "params": _strings(parameters),
            "body": Datum(request.body, "bytes"),
        },
        "http",
    )


def response_of(function: Function, result: Result) -> Response:
    """Return the answer that a function's result means; 204 where it gave none."""
    if not result.ok:
        return Response(500)
    names = [output.parameter for output in function.outputs if isinstance(output, HttpOutput)]
    data = [result.returned if name == "$return" else result.outputs.get(name) for name in names]
    datum = next((one for one in data if one is not None and one.value is not None), None)
    if datum is None:
        return Response(204)
    if datum.type == "http":
        return _from_http(datum.value)
    if isinstance(datum.value, bytes):
        return Response(200, (("Content-Type", "application/octet-stream"),), datum.value)
    return Response(200, (("Content-Type", "text/plain; charset=utf-8"),), str(datum.value).encode())


def _from_http(value: Mapping[str, Any]) -> Response:
    headers = [(name, datum.value) for name, datum in value["headers"].items()]
    for cookie in value.get("cookies") or ():
        headers += [("Set-Cookie", morsel.OutputString()) for morsel in cookie.values()]
    body = value["body"].value
    if any(not text.isascii() or not text.isprintable() for pair in headers for text in pair):
        raise ValueError("a response header holds a character that HTTP does not allow there")
    return Response(int(value["status_code"].value), tuple(headers), bytes(body))


def _below(prefix: str, path: str) -> str | None:
    parts, wanted = path.lstrip("/").split("/"), prefix.split("/") if prefix else []
    if [part.lower() for part in parts[: len(wanted)]] != [part.lower() for part in wanted]:
        return None
    return "/".join(parts[len(wanted) :])


def _strings(values: Mapping[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in values.items()}
