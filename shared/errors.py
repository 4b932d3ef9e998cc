"""The error tree. Each error says what happened, where, and what to do next, and whether a retry can help.

Messages never carry a secret, a token, a key or a SAS: they are logged and stored as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


class ExportError(Exception):
    """Anything this app raises on purpose.

    ``retryable`` says whether the same work can succeed later without anyone changing anything.
    """

    retryable = False


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration: where it is, what was found, what was expected."""

    where: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}; expected {self.expected}"


class SettingsError(ExportError):
    """The configuration cannot be used. All mistakes are reported at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"- {problem}" for problem in self.problems))


class BadRequestError(ExportError):
    """A caller's request cannot be understood; ``field`` names the part of it that is wrong.

    ``mistakes`` has every part that is wrong, and why, the first one first.
    """

    def __init__(self, field: str, message: str, *others: tuple[str, str]) -> None:
        self.field = field
        self.mistakes = ((field, message), *others)
        super().__init__("; ".join(f"{name}: {why}" for name, why in self.mistakes))

    @classmethod
    def of(cls, mistakes: Sequence[tuple[str, str]]) -> "BadRequestError":
        """Return the error of several mistakes."""
        first, *others = mistakes
        return cls(*first, *others)


class RefusedError(ExportError):
    """A caller's request is understood and not carried out.

    ``status`` is the HTTP status that says why; ``retry_after`` the seconds after which it may be, if ever.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        self.status = status
        self.retry_after = retry_after
        super().__init__(message)


class MethodError(RefusedError):
    """A request's method is none of ``methods``, which are those that are served at its path."""

    def __init__(self, methods: Sequence[str]) -> None:
        self.methods = tuple(methods)
        super().__init__(405, f"the method must be {' or '.join(methods)} here")


class NotFoundError(ExportError):
    """A caller asked for something by a name that there is not."""


class CredentialError(ExportError):
    """No token could be had from Entra ID or the managed identity endpoint."""

    retryable = True


class NotGrantedError(CredentialError):
    """Entra ID knows the app, and gives it no token for one API: a consent, or the API itself, is missing.

    To an export of that API it is what a DeniedError is; exports of other APIs go on.
    """

    retryable = False


class TransportError(ExportError):
    """A service could not be reached, or broke off its answer, also after retries."""

    retryable = True


class ForeignHostError(ExportError):
    """A service pointed (by a redirect or a next link) to another host, which must not see the token."""


class ServiceError(ExportError):
    """A service answered with an error.

    ``status`` is the HTTP status, ``code`` the service's code path from the outermost to the innermost
    (``BadArgumentError/SemanticError/SEM0100``), ``request_id`` its correlation or request id, and
    ``retry_after`` the seconds it asked to wait, where it did.
    """

    def __init__(
        self,
        service: str,
        *,
        status: int,
        code: str,
        message: str,
        request_id: str | None,
        retryable: bool,
        retry_after: float | None = None,
    ) -> None:
        self.service = service
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id
        self.retryable = retryable
        self.retry_after = retry_after
        super().__init__(
            f"{service} answered {status} {code}: {message} (request id {request_id or 'not given'})"
        )

    @classmethod
    def of(cls, error: "ServiceError", advice: str) -> Self:
        """Return an error that no retry helps with what to do: what to grant, to buy or to change."""
        return cls(
            error.service,
            status=error.status,
            code=error.code,
            message=f"{error.message} To mend it: {advice}",
            request_id=error.request_id,
            retryable=False,
        )


class IncompleteAnswerError(ServiceError):
    """The service answered 200, but says itself (``PartialError``), or shows, that rows are missing."""


class AnswerTooLargeError(IncompleteAnswerError):
    """The service cut its answer, or gave up computing it, because too much was asked at once.

    Asking for less can help; asking the same again cannot.
    """


class DeniedError(ServiceError):
    """A service gives an export nothing at all: a permission, a consent or a licence is missing."""


class ProtocolError(ExportError):
    """A service's answer is not of the documented form, so nothing of it may be taken for data."""

    retryable = True


class SeveralTablesError(ProtocolError):
    """A query has several results where one was expected; only its author can mend that."""

    retryable = False


class ConflictError(ExportError):
    """Storage refused a conditional write: somebody else wrote first."""

    retryable = True


class StorageError(ExportError):
    """Storage refused or failed an operation, also after the client's own retries."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        self.retryable = retryable
        super().__init__(message)


class OriginError(ExportError):
    """An export's name already belongs to another source; writing would mix two sources' rows."""


class UnavailableError(ExportError):
    """The source no longer holds rows from before ``floor`` (ticks): asking for them proves nothing."""

    def __init__(self, floor: int, reason: str) -> None:
        self.floor = floor
        super().__init__(reason)


class PutOffError(ExportError):
    """Nothing went wrong, but the window cannot be had yet; it is to be tried again in ``wait`` ticks."""

    def __init__(self, wait: int, message: str) -> None:
        self.wait = wait
        super().__init__(message)


class NotSettledError(PutOffError):
    """By the service's own clock the window is not due for another ``wait`` ticks: ours is ahead."""

    def __init__(self, wait: int) -> None:
        super().__init__(
            wait,
            f"by the service's clock the window is due in {wait / 10_000_000:.0f} s: this machine's is ahead",
        )


class NotReadyError(PutOffError):
    """The service is still preparing the answer; another attempt picks it up."""


class NoRoomError(NotReadyError):
    """The service has no room for another operation now, whichever window it is for."""


class DeadlineError(ExportError):
    """The time allowed for the work ran out before it was done.

    ``counted`` is how many of the windows that were to be counted were, from the first on without a gap.
    """

    retryable = True

    def __init__(self, message: str, counted: int = 0) -> None:
        super().__init__(message)
        self.counted = counted
