"""What on-demand queries may do, as the app's settings say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """The guard rails of on-demand queries.

    ``folder`` is where saved queries are; ``free_text`` allows callers KQL of their own, in which the guard
    lets pass what ``allowed`` names. ``signed_in`` says that App Service authenticates callers. The
    ``workspaces`` are those that may be asked, by name, the default first. Answers have ``inline_rows`` and
    ``inline_bytes`` at most; larger ones are kept for ``result_days``. ``concurrent`` is how many queries one
    instance answers at a time, ``pending`` how many wait or run in the queue. One query may ask for ``days``
    and answer ``rows`` and ``bytes`` (of its stored result), in ``seconds``.
    """

    folder: Path = Path("queries")
    enabled: bool = True
    free_text: bool = True
    signed_in: bool = False
    allowed: frozenset[str] = frozenset()
    workspaces: Mapping[str, str] = field(default_factory=dict)
    inline_rows: int = 10_000
    inline_bytes: int = 8 << 20
    concurrent: int = 2
    pending: int = 20
    rows: int = 5_000_000
    bytes: int = 1024 << 20
    days: int = 366
    seconds: int = 480
    result_days: int = 7
