"""Queries through Resource Manager.

The routes are ``{resource id}/providers/microsoft.insights/logs``, and the older
``{workspace's id}/api/query``. They are the query API's queries, in Kusto's first shape unless the request
prefers ``response-v1=true`` ("Querying logs for Azure resources"; for the shape see `local.cloud.kusto_v1`).
"""

import re
from collections.abc import Callable
from urllib.parse import unquote

from local.cloud import arm, kusto_v1
from local.cloud import query_errors as errors
from local.cloud.faults import Fault
from local.cloud.identity import Identity
from local.cloud.log_analytics import resource_scope
from local.cloud.options import Limits
from local.cloud.query_run import Result, body
from local.cloud.query_service import QueryService, Shape, Target, preferences, raise_fault
from local.cloud.server import Answer, Request
from local.cloud.ticks import from_unix
from local.cloud.tokens import Tokens
from local.cloud.workspaces import Scope, Workspaces

_RESOURCE = re.compile(r"(?P<resource>/subscriptions/.+)/providers/microsoft\.insights/logs", re.IGNORECASE)
_WORKSPACE = re.compile(r"(?P<resource>/subscriptions/.+/workspaces/[^/]+)/api/query", re.IGNORECASE)
_RESOURCE_VERSIONS = ("2018-03-01-preview", "2018-08-01-preview")
_WORKSPACE_VERSIONS = ("2017-01-01-preview", "2020-08-01")


class ArmQuery:
    """Resource Manager in front of the query service. `clock` gives Unix seconds."""

    def __init__(
        self,
        identity: Identity,
        tokens: Tokens,
        workspaces: Workspaces,
        service: QueryService,
        headers: arm.Headers,
        clock: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._tokens = tokens
        self._workspaces = workspaces
        self._service = service
        self._headers = headers
        self._clock = clock

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is one of these routes, whatever the resource."""
        return bool(_RESOURCE.fullmatch(unquote(path)) or _WORKSPACE.fullmatch(unquote(path)))

    def answer(self, request: Request, fault: Fault | None, limits: Limits) -> Answer:
        """The answer to a request on such a path."""
        try:
            if fault is not None and fault.kind in ("403", "429", "expired_token"):
                arm.raise_fault(fault, self._clock(), self._identity.client_id, request)
            raise_fault(fault, self._clock())
            arm.check_token(self._tokens, request)
            answer = self._service.answer(request, fault, limits, self._target(request, limits))
        except (arm.ArmError, errors.QueryApiError) as error:
            answer = error.answer()
        return self._headers.added_to(answer, request)

    def _target(self, request: Request, limits: Limits) -> Target:
        path = unquote(request.path)
        if found := _WORKSPACE.fullmatch(path):
            arm.check_version(request, _WORKSPACE_VERSIONS)
            scope = Scope((arm.workspace_at(self._workspaces, found["resource"]),))
        else:
            arm.check_version(request, _RESOURCE_VERSIONS)
            resource = path[: path.lower().rindex("/providers/microsoft.insights/logs")]
            scope = resource_scope(self._workspaces, resource, self._identity.client_id)
        shape, name = self._shape(request, limits)
        return Target(scope, "query", shape, name)

    def _shape(self, request: Request, limits: Limits) -> tuple[Shape, str]:
        preferred = preferences(request).get("response-v1", "").lower() == "true"
        if preferred and not limits.arm_ignores_prefer:
            return body, "v1"

        def shape(result: Result, *, statistics: bool) -> bytes:
            del statistics  # this shape has them always
            return kusto_v1.body(result, limits, from_unix(self._clock()))

        return shape, f"kusto {limits.arm_partial} {limits.arm_nested}"
