"""The workspaces of the stand-in, what a query may see of them, and which Azure resources there are."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from local.cloud import kql
from local.cloud.identity import Identity, made_up_uuid
from local.cloud.options import Options
from local.cloud.store import Store, Table, literal, new_database, quoted
from local.cloud.tables import AUXILIARY, BASIC, CHEAP_TABLES, TABLES, Plan

_RESOURCE = "_ResourceId"


@dataclass(frozen=True)
class Workspace:
    """One workspace: its id (a GUID, which its rows have as TenantId), its ARM id, and its rows."""

    id: str
    resource_id: str
    store: Store

    @property
    def name(self) -> str:
        """The last part of the ARM id."""
        return self.resource_id.rpartition("/")[2]

    def is_called(self, text: str) -> bool:
        """Whether a text is one of the forms that a query's list of workspaces takes.

        Those are the id, the name, the ARM id, and ``subscription/group/name`` ("Cross-workspace queries").
        """
        _, _, subscription, _, group, *_ = self.resource_id.split("/")
        forms = (self.id, self.name, self.resource_id, f"{subscription}/{group}/{self.name}")
        return text.lower() in map(str.lower, forms)


@dataclass(frozen=True)
class Scope:
    """What a query sees: the rows of workspaces, or only those of one `resource` (lower case) and below."""

    workspaces: tuple[Workspace, ...]
    resource: str = ""

    @property
    def tables(self) -> list[str]:
        """The names of the tables that any of the workspaces has."""
        found = dict.fromkeys(name for each in self.workspaces for name in each.store.columns)
        return [name for name in found if not self.resource or self._holders(name)]

    @property
    def schema(self) -> kql.Schema:
        """What a translation has to know of these tables."""
        if self._is_plain:
            return self.workspaces[0].store.schema
        schema: kql.Schema = {}
        for name in self.tables:
            every = (each for store in self._holders(name) for each in store.columns[name])
            columns = list(dict.fromkeys(every))
            schema |= {name: columns, kql.hidden_table(name): [*columns, kql.INGESTION]}
        return schema

    def reveal(self, now: int) -> None:
        """Show the rows that are to be visible by `now` (ticks)."""
        for each in self.workspaces:
            each.store.reveal(now)

    def is_empty(self) -> bool:
        """Whether none of the workspaces has any row."""
        return all(each.store.is_empty() for each in self.workspaces)

    @contextmanager
    def answer(self, sql: str) -> Iterator[Table]:
        """The table that `sql`, a translation for this schema, selects. Raises duckdb.Error."""
        with self.workspaces[0].store.answer(self.bound(sql)) as table:
            yield table

    def bound(self, sql: str) -> str:
        """`sql` with each table's name standing for the rows that are in scope."""
        if self._is_plain:
            return sql
        bindings = []
        for name in self.tables:
            hidden = quoted(kql.hidden_table(name))
            parts = (f"SELECT * FROM {quoted(store.space)}.{hidden}" for store in self._holders(name))  # noqa: S608
            rows = f"SELECT * FROM ({' UNION ALL BY NAME '.join(parts)})"  # noqa: S608
            if self.resource:
                own, below = literal(self.resource), literal(f"{self.resource}/")
                place = f"lower({quoted(_RESOURCE)})"
                rows += f" WHERE {place} = {own} OR starts_with({place}, {below})"
            bindings.append(f"{hidden} AS NOT MATERIALIZED ({rows})")
            visible = f"SELECT * EXCLUDE ({quoted(kql.INGESTION)}) FROM {hidden}"  # noqa: S608
            bindings.append(f"{quoted(name)} AS NOT MATERIALIZED ({visible})")
        return f"WITH {', '.join(bindings)} SELECT * FROM ({sql})"  # noqa: S608

    @property
    def _is_plain(self) -> bool:
        return len(self.workspaces) == 1 and not self.resource

    def _holders(self, table: str) -> list[Store]:
        """The stores that have a table; for a resource's rows, only where rows name their resource."""
        stores = (each.store for each in self.workspaces if table in each.store.columns)
        return [each for each in stores if not self.resource or _RESOURCE in each.columns[table]]


class Workspaces:
    """All workspaces, the first of them the one of `Identity`; and one that the app has no role on."""

    def __init__(self, identity: Identity, options: Options) -> None:
        self._database = new_database()
        group, _, first = identity.workspace_resource_id.rpartition("/")
        random = Random(f"workspaces {options.seed}")  # noqa: S311 (made-up ids, not secrets)
        ids = [identity.workspace_id, *(made_up_uuid(random) for _ in range(options.workspaces - 1))]
        counts = {BASIC: options.basic, AUXILIARY: options.auxiliary}
        cheap = {name: CHEAP_TABLES[name] for name, count in counts.items() if count is not None}
        tables = TABLES | {name: columns for name, (_, columns) in cheap.items()}
        self._plans: Mapping[str, Plan] = {name: plan for name, (plan, _) in cheap.items()}
        self.all = tuple(
            Workspace(
                each,
                f"{group}/{first}" if number == 1 else f"{group}/{first}-{number}",
                Store(each, self._database, f"workspace {number}", tables),
            )
            for number, each in enumerate(ids, 1)
        )
        self.foreign_id = identity.foreign_workspace_id
        foreign = group.replace("/resourceGroups/monitoring/", "/resourceGroups/foreign/")
        self.foreign_resource_id = f"{foreign}/foreign"

    def get(self, id: str | None) -> Workspace:  # noqa: A002 (the service's own name for it)
        """The workspace with an id; None is the first. Raises ValueError for an unknown one."""
        for each in self.all:
            if id in (None, each.id):
                return each
        raise ValueError(f"no workspace {id!r}; there are {', '.join(each.id for each in self.all)}")

    def called(self, text: str) -> Workspace | None:
        """The workspace that a text means (see `Workspace.is_called`)."""
        return next((each for each in self.all if each.is_called(text)), None)

    def is_foreign(self, resource: str) -> bool:
        """Whether a resource is one that the app may not read: it is in the foreign workspace's group."""
        group = self.foreign_resource_id.lower().partition("/providers/")[0]
        return f"{resource.lower()}/".startswith(f"{group}/")

    def of_resource(self, resource: str) -> Scope | None:
        """What a query of an Azure resource sees: a workspace's rows, or the rows of the resource everywhere.

        None where no such resource is known, which is when it has no rows.
        """
        resource = resource.lower().rstrip("/")
        for each in self.all:
            if each.resource_id.lower() == resource:
                return Scope((each,))
        scope = Scope(self.all, resource)
        for table in scope.tables:
            with scope.answer(f"SELECT 1 AS found FROM {quoted(table)} LIMIT 1") as found:  # noqa: S608
                if any(True for _ in found.rows):
                    return scope
        return None

    def plans(self, changes: Mapping[str, Plan]) -> dict[str, Plan]:
        """The plans of the tables that are not Analytics tables, after `changes`."""
        plans = {**self._plans, **changes}
        return {name: plan for name, plan in plans.items() if plan != "Analytics"}

    def close(self) -> None:
        """Drop everything."""
        for each in self.all:
            each.store.close()
        self._database.close()
