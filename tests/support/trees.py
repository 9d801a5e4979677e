"""What must be true of all tasks after whatever was done to them."""

from tests.support.tasks import Desk

_OPEN = "('ASSIGNED', 'IN_PROGRESS', 'ON_HOLD')"
_RULES = {
    "on hold without an open child": f"""
        SELECT t.id FROM tasks t WHERE t.status = 'ON_HOLD'
            AND NOT EXISTS (SELECT FROM tasks c WHERE c.parent_id = t.id AND c.status IN {_OPEN})
    """,
    "an open child below a task that is not on hold": f"""
        SELECT c.id FROM tasks c JOIN tasks t ON t.id = c.parent_id WHERE c.status IN {_OPEN} AND t.status <> 'ON_HOLD'
    """,
    "two open holds": """
        SELECT parent_id FROM tasks WHERE type_name = 'timed_hold' AND status = 'ASSIGNED'
        GROUP BY parent_id HAVING count(*) > 1
    """,
    "an open hold without exactly one pending timer": """
        SELECT t.id FROM tasks t LEFT JOIN task_timers m
            ON m.task_id = t.id AND m.processed_at IS NULL AND m.cancelled_at IS NULL
        WHERE t.type_name = 'timed_hold' AND t.status = 'ASSIGNED' AND m.task_id IS NULL
    """,
    "a pending timer without an open hold": """
        SELECT m.task_id FROM task_timers m JOIN tasks t ON t.id = m.task_id
        WHERE m.processed_at IS NULL AND m.cancelled_at IS NULL AND t.status <> 'ASSIGNED'
    """,
    "a hold whose end and reason do not agree": """
        SELECT t.id FROM tasks t LEFT JOIN task_holds h ON h.task_id = t.id
        WHERE t.type_name = 'timed_hold' AND (
            h.task_id IS NULL OR (h.end_reason IS NULL) <> (t.status = 'ASSIGNED')
            OR (h.end_reason = 'EXPIRED') <> (t.status = 'COMPLETED')
        )
    """,
    "a timer that is not due when its hold ends": """
        SELECT m.task_id FROM task_timers m JOIN task_holds h ON h.task_id = m.task_id WHERE m.due_at <> h.ends_at
    """,
    "a hold of somebody else than its task": """
        SELECT h.id FROM tasks h JOIN tasks t ON t.id = h.parent_id
        WHERE h.type_name = 'timed_hold' AND h.status = 'ASSIGNED' AND (
            h.assignee_user_id IS DISTINCT FROM t.assignee_user_id
            OR h.assignee_team_id IS DISTINCT FROM t.assignee_team_id
        )
    """,
    "a root that is none": """
        WITH RECURSIVE tree (id, root_id) AS (
            SELECT id, id FROM tasks WHERE parent_id IS NULL
            UNION ALL SELECT t.id, tree.root_id FROM tree JOIN tasks t ON t.parent_id = tree.id
        )
        SELECT t.id FROM tasks t LEFT JOIN tree ON tree.id = t.id
        WHERE coalesce(t.root_id, t.id) IS DISTINCT FROM tree.root_id
    """,
    "a history that is not a chain from creation to now": """
        SELECT t.id FROM tasks t LEFT JOIN LATERAL (
            SELECT count(*) AS lines,
                count(*) FILTER (WHERE from_status IS NULL) AS beginnings,
                count(*) FILTER (WHERE from_status IS DISTINCT FROM before) AS gaps,
                (array_agg(to_status ORDER BY id DESC))[1] AS newest
            FROM (
                SELECT *, lag(to_status) OVER (ORDER BY id) AS before FROM task_transitions x WHERE x.task_id = t.id
            ) line
        ) told ON true
        WHERE t.plan_id IS NULL AND (told.beginnings <> 1 OR told.gaps > 0 OR told.newest <> t.status)
    """,
}


_ALL = " UNION ALL ".join(
    f"SELECT '{name}' AS rule, count(*) AS broken FROM ({sql}) found" for name, sql in _RULES.items()
)


async def violations(desk: Desk) -> list[str]:
    """The rules that do not hold, each with how many break it: one statement."""
    return [f"{row.rule}: {row.broken}" for row in await desk.rows(_ALL) if row.broken]
