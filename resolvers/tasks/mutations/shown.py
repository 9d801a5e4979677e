"""What the mutations of tasks share: how ids are read, and how payloads show what their keys name."""

from typing import Any
from uuid import UUID

from db.tasks.commands import Assignee
from db.tasks.queries import TIMED_HOLD, WORK_TASK
from resolvers.fields import shown
from resolvers.ids import NOTHING, decode_any, decode_id, require_id

NOTE = "A note to append to its `instructions`; blank is ignored."
TASK_AS_IT_IS = "The task as it is now; null where the mutation was refused."
_TYPES = ("WorkTask", "TimedHoldTask")


def task_key(id_: str) -> UUID:
    """The key of a task, or of a hold: that it is none is for the command to refuse. Raises Refused (NOT_FOUND)."""
    return require_id(id_, "taskId", types=_TYPES, thing="task")


def parent_key(id_: str | None) -> UUID | None:
    """The key of the task that another is to stand below. An id that is none is for the command to refuse, which tells
    what else is wrong.
    """
    return None if id_ is None else decode_id(id_, *_TYPES) or NOTHING


def assignee_of(id_: str) -> Assignee:
    """Whom an id names: a person, a team, or nobody."""
    type_name, key = decode_any(id_) or ("", None)
    return Assignee(user_id=key if type_name == "User" else None, team_id=key if type_name == "Team" else None)


def task_shown(description: str = TASK_AS_IT_IS, *, key: str = "task_id") -> Any:
    """The field of a payload that shows a task."""
    return shown(WORK_TASK, key, description)


def hold_shown(description: str) -> Any:
    """The field of a payload that shows a hold."""
    return shown(TIMED_HOLD, "hold_id", description)
