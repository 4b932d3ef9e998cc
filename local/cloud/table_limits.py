"""The limits of Basic and Auxiliary tables, of Resource Manager's answers, and of search jobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from local.cloud.tables import PLANS, Plan

ArmPartial = Literal["status", "exceptions", "rows"]
"""Where an answer in Kusto's first shape says that it does not hold all rows: in its table QueryStatus
(recorded from the service: microsoft/jupyter-Kqlmagic issue 77), in a member ``Exceptions`` beside the
tables, or as an object among the rows (Azure/azure-kusto-node issue 53)."""

JobShape = Literal["specified", "recorded", "sample"]
"""How the Tables API describes a search job: as its specification says (under ``properties``), as the service
was recorded in 2022 and 2023 (under ``schema``, no statistics), or as in the sample of "Run search jobs in
Azure Monitor" (the same, with dates like ``Mon, 01 Nov 2021 16:38:01 GMT``)."""

JobCancelled = Literal["Succeeded", "Canceled"]
"""The status with which the operation of a cancelled search job ends. Which it is no source says; a table has
no state for it, so that its own is "Succeeded", beside the progress that the job had."""


@dataclass(frozen=True)
class TableLimits:
    """Limits of the ways to tables beside the plain query; part of `local.cloud.options.Limits`.

    `plans` gives tables another plan than the usual one. Of Basic and Auxiliary tables, `basic_running`
    queries run at one time, a Basic table's rows can be asked for `basic_days` back (None: for ever), and
    `search_time_filters` says whether a query may filter on TimeGenerated: the documentation says that the
    time range cannot be given in a ``where``, and not whether one is refused ("Query data in a Basic and
    Auxiliary table").

    `arm_ignores_prefer` makes Resource Manager answer queries in Kusto's first shape whatever is preferred,
    `arm_partial` says where that shape tells of missing rows, and `arm_nested` makes it hold booleans and
    dynamic values as JSON's own instead of 0, 1 and text.

    A search job is through its states after `job_polls` looks at it and `job_seconds` after its start; a
    deleted table is gone after `delete_polls` looks. `job_records` is the most that a job returns,
    `job_running` how many run at one time, `job_tables` how many result tables there may be, and
    `jobs_a_day` how many may be started in 24 hours, all for one workspace ("Run search jobs in Azure
    Monitor"). `job_shape` is how the Tables API describes a job, and `job_cancelled` how one ends that is
    cancelled.

    Raises ValueError for a word that is not one of the type's.
    """

    plans: Mapping[str, Plan] = field(default_factory=dict)
    basic_running: int = 2
    basic_days: int | None = 30
    search_time_filters: bool = True
    arm_ignores_prefer: bool = False
    arm_partial: ArmPartial = "status"
    arm_nested: bool = False
    job_polls: int = 2
    job_seconds: float = 0.0
    delete_polls: int = 1
    job_records: int = 100_000_000
    job_running: int = 10
    job_tables: int = 200
    jobs_a_day: int = 200
    job_shape: JobShape = "specified"
    job_cancelled: JobCancelled = "Succeeded"

    def __post_init__(self) -> None:
        """Refuse words that mean nothing."""
        if self.arm_partial not in get_args(ArmPartial):
            raise ValueError(f"no arm_partial {self.arm_partial!r}; {', '.join(get_args(ArmPartial))}")
        if self.job_shape not in get_args(JobShape):
            raise ValueError(f"no job_shape {self.job_shape!r}; {', '.join(get_args(JobShape))}")
        if self.job_cancelled not in get_args(JobCancelled):
            raise ValueError(f"no job_cancelled {self.job_cancelled!r}; {', '.join(get_args(JobCancelled))}")
        if unknown := set(self.plans.values()) - PLANS:
            raise ValueError(f"no table plan {', '.join(unknown)}; {', '.join(sorted(PLANS))}")
