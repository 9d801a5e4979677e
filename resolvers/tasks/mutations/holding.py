"""Holds: placed, ended, and what each type of task allows of them."""

from typing import Any
from uuid import UUID

import strawberry

from db.accounts.rules import Viewer
from db.reading import Want
from db.session import Tx
from db.tasks import commands
from db.tasks.queries import TASK_TYPE, TASK_TYPES
from db.tasks.rules import HoldExpiry, HoldOnAssign, HoldPolicy
from resolvers.context import Info
from resolvers.fields import MutationPayload, attr, mutation
from resolvers.inputs import IDEMPOTENCY_KEY
from resolvers.selection import wanted
from resolvers.tasks.mutations.shown import hold_shown, task_key, task_shown
from resolvers.tasks.types import TaskType, TimedHoldTask, WorkTask


async def _type(self: Any, info: Info) -> Any:
    if self.type_name is None:
        return None
    asked = Want("", wanted(info).wants, {"name": self.type_name})
    page = await info.context.reading.page(TASK_TYPE, asked, TASK_TYPES, name="types")
    return page.nodes[0] if page.nodes else None


@strawberry.input(description="Which task to pause, and for how long.")
class PlaceHoldInput:
    """A hold."""

    task_id: strawberry.ID = attr("The task; a hold's id is refused.")
    duration_days: int = attr("For how many days of 24 hours: within `WorkTask.type.hold`.")
    instructions: str | None = attr(
        "Why: appended to the `instructions` of the task and of the hold. Some types need it (`noteRequired`).",
        default=None,
    )
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which task is to go on.")
class EndHoldInput:
    """A task on hold."""

    task_id: strawberry.ID = attr("The task that is on hold; a hold's own id is refused.")
    reason: str | None = attr("Why: the reason in the hold's `timeline`.", default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="What holds a type of task is to allow.")
class HoldPolicyInput:
    """Limits of holds."""

    min_days: int = attr("The shortest hold, in days of 24 hours; at least 1.")
    max_days: int = attr("The longest hold, in days of 24 hours; at most 3650.")
    presets: list[int] = attr("Durations worth offering, each within the two.", default_factory=list)
    on_expiry: HoldExpiry = attr("What happens to the task when its hold runs out.", default=HoldExpiry.RESUME)
    on_assign: HoldOnAssign = attr(
        "What happens to an open hold when a team's task is assigned to a person.", default=HoldOnAssign.CANCEL
    )
    note_required: bool = attr("Whether `placeHold` must say why.", default=False)


@strawberry.input(description="A type of task, new or as it is to be.")
class UpsertTaskTypeInput:
    """A type of task."""

    name: str = attr(
        "Stable, for programs: a lower-case letter, then up to 62 lower-case letters, digits and `_`. One that exists "
        "is changed."
    )
    label: str = attr("For people, 1 to 255 characters.")
    hold: HoldPolicyInput | None = attr(
        "What holds are allowed; null or absent: none from now on. Holds that are open stay.", default=None
    )
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.type(description="What `placeHold` did.")
class PlaceHoldPayload(MutationPayload):
    """A new hold."""

    task_id: strawberry.Private[UUID | None] = None
    hold_id: strawberry.Private[UUID | None] = None
    task: WorkTask | None = task_shown("The task, ON_HOLD; null where the mutation was refused.")
    hold: TimedHoldTask | None = hold_shown("The new hold; null where refused.")


@strawberry.type(description="What `endHold` did.")
class EndHoldPayload(MutationPayload):
    """An ended hold."""

    task_id: strawberry.Private[UUID | None] = None
    hold_id: strawberry.Private[UUID | None] = None
    task: WorkTask | None = task_shown()
    hold: TimedHoldTask | None = hold_shown("The hold, which is over; null where refused.")


@strawberry.type(description="What `upsertTaskType` did.")
class UpsertTaskTypePayload(MutationPayload):
    """A type of task."""

    type_name: strawberry.Private[str | None] = None
    task_type: TaskType | None = strawberry.field(
        resolver=_type, description="The type as it is now; null where the mutation was refused."
    )
    created: bool = attr("Whether it is new.", default=False)


@mutation
async def place_hold(tx: Tx, viewer: Viewer, input: PlaceHoldInput) -> PlaceHoldPayload:
    """Pause a task for so many days of 24 hours. For its assignee, its team and that team's admins, the teachers of its
    plan, and ADMIN.

    A hold that is open on it is replaced (SUPERSEDED), and the task stays ON_HOLD all the while. Nobody need be there
    when it ends. HOLD_DURATION_OUT_OF_RANGE and HOLD_NOT_ALLOWED by the task's type, TASK_CLOSED.
    """
    key = task_key(input.task_id)
    hold_id = await commands.place_hold(
        tx,
        actor=viewer,
        task_id=key,
        duration_days=input.duration_days,
        instructions=input.instructions,
        now=tx.now,
    )
    return PlaceHoldPayload(task_id=key, hold_id=hold_id)


@mutation
async def end_hold(tx: Tx, viewer: Viewer, input: EndHoldInput) -> EndHoldPayload:
    """End the open hold of a task before its time. For whoever may place one.

    The task is ASSIGNED again, or stays ON_HOLD while a task below it is open. NO_ACTIVE_HOLD, TASK_CLOSED.
    """
    key = task_key(input.task_id)
    hold_id = await commands.end_hold(tx, actor=viewer, task_id=key, reason=input.reason, now=tx.now)
    return EndHoldPayload(task_id=key, hold_id=hold_id)


@mutation
async def upsert_task_type(tx: Tx, viewer: Viewer, input: UpsertTaskTypeInput) -> UpsertTaskTypePayload:
    """Make a type of task, or change the label and the holds of one. For ADMIN. No type ever disappears."""
    created = await commands.upsert_task_type(
        tx, actor=viewer, name=input.name, label=input.label, hold=None if input.hold is None else _policy(input.hold)
    )
    return UpsertTaskTypePayload(type_name=input.name, created=created)


def _policy(given: HoldPolicyInput) -> HoldPolicy:
    return HoldPolicy(
        min_days=given.min_days,
        max_days=given.max_days,
        presets=given.presets,
        on_expiry=given.on_expiry,
        on_assign=given.on_assign,
        note_required=given.note_required,
    )
