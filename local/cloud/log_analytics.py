"""Log Analytics query API v1: ``/v1/workspaces/{id}/query`` and ``/search``, ``/v1{resource id}/query``.

Sources: "Azure Monitor Log Analytics API" (request format, response format, Prefer options, timeouts, errors,
querying logs for Azure resources), "Query data in a Basic and Auxiliary table", and the recorded sessions of
Microsoft's .NET client tests.
"""

import re
from collections.abc import Callable
from typing import Literal, cast
from urllib.parse import unquote

from local.cloud import query_errors as errors
from local.cloud.faults import Fault
from local.cloud.identity import Identity
from local.cloud.options import Limits
from local.cloud.query_run import body
from local.cloud.query_service import QueryService, Target, raise_fault
from local.cloud.server import Answer, Request
from local.cloud.tokens import Tokens, Verdict
from local.cloud.workspaces import Scope, Workspaces

_WORKSPACE = re.compile(r"/v1/workspaces/(?P<workspace>[^/]+)/(?P<kind>query|search)")
_RESOURCE = re.compile(r"/v1(?P<resource>/subscriptions/.+)/(?P<kind>query|search)", re.IGNORECASE)


class LogAnalytics:
    """The query service's own host. `clock` gives Unix seconds."""

    def __init__(
        self,
        identity: Identity,
        tokens: Tokens,
        workspaces: Workspaces,
        service: QueryService,
        clock: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._tokens = tokens
        self._workspaces = workspaces
        self._service = service
        self._clock = clock

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is this API's, whatever the workspace."""
        return path.startswith("/v1/")

    def answer(self, request: Request, fault: Fault | None, limits: Limits) -> Answer:
        """The answer to a request on such a path."""
        try:
            raise_fault(fault, self._clock())
            return self._service.answer(request, fault, limits, self._target(request))
        except errors.QueryApiError as error:
            return error.answer()

    def _target(self, request: Request) -> Target:
        """Where a path leads; checked are the path, then the token, then the app's role."""
        # Microsoft's Python client puts a second slash before a resource id.
        path = unquote(request.path).replace("//", "/")
        found = _WORKSPACE.fullmatch(path) or _RESOURCE.fullmatch(path)
        if found is None:
            raise errors.not_found()
        kind = cast("Literal['query', 'search']", found["kind"].lower())
        if "workspace" in found.groupdict():
            return Target(self._workspace(request, found["workspace"].lower()), kind, body)
        self._check_token(request)
        scope = resource_scope(self._workspaces, found["resource"], self._identity.client_id)
        if kind == "search" and scope.resource:
            raise errors.bad_argument("A query of Basic Logs has a workspace as its scope")
        return Target(scope, kind, body)

    def _workspace(self, request: Request, workspace_id: str) -> Scope:
        own = {each.id: each for each in self._workspaces.all}
        if workspace_id not in (*own, self._workspaces.foreign_id):
            raise errors.not_found()
        self._check_token(request)
        if workspace_id not in own:
            raise errors.insufficient_access()
        return Scope((own[workspace_id],))

    def _check_token(self, request: Request) -> None:
        match self._tokens.check(request.headers.get("Authorization"), "log_analytics"):
            case Verdict.MISSING:
                raise errors.no_token()
            case Verdict.EXPIRED:
                raise errors.expired_token()
            case Verdict.INVALID:
                raise errors.invalid_token()
            case Verdict.WRONG_AUDIENCE:
                raise errors.wrong_audience()


def resource_scope(workspaces: Workspaces, resource: str, user: str) -> Scope:
    """What a query of an Azure resource sees. Raises QueryApiError where the app may see nothing.

    `user` is who asks.
    """
    if re.fullmatch(r"/subscriptions/[0-9a-f-]{36}(/.+)?", resource, re.IGNORECASE) is None:
        raise errors.unresolved_resource(resource)
    if workspaces.is_foreign(resource):
        raise errors.no_access_to_resource(user)
    scope = workspaces.of_resource(resource)
    if scope is None:
        raise errors.resource_not_found(resource)
    return scope
