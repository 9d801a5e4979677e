"""The statements of the tasks' commands: each change with its transition in one round trip."""

from sqlalchemy import text

_OPEN = "('ASSIGNED', 'IN_PROGRESS', 'ON_HOLD')"

# --- locks ------------------------------------------------------------------------------------------------------------

# The plan's key is shared by everybody who works on its tasks and wanted whole by a publication that goes live.
LOCK_PLAN = text(
    """
    SELECT p.id, p.live_generation, p.first_published_at, p.state,
        EXISTS (SELECT FROM course_teachers t WHERE t.course_id = p.course_id AND t.user_id = :user_id)
        OR EXISTS (
            SELECT FROM classes k LEFT JOIN class_co_teachers o ON o.class_id = k.id AND o.user_id = :user_id
            WHERE k.course_id = p.course_id AND (k.teacher_id = :user_id OR o.user_id IS NOT NULL)
        ) AS teaches
    FROM plans p WHERE p.id = (
        SELECT r.plan_id FROM tasks t JOIN tasks r ON r.id = coalesce(t.root_id, t.id) WHERE t.id = :task_id
    )
    FOR KEY SHARE OF p
    """
)
# One row for each tree: whoever holds it may change every task of the tree.
LOCK_ROOT = text(
    """
    SELECT r.id FROM tasks t JOIN tasks r ON r.id = coalesce(t.root_id, t.id)
    WHERE t.id = :task_id FOR UPDATE OF r
    """
)
READ_TASK = text(
    f"""
    SELECT t.id, t.type_name, t.title, t.status, t.parent_id, t.root_id, t.assignee_user_id, t.assignee_team_id,
        t.assigned_by_id, t.plan_id, t.generation, t.opens_at, t.due_at, t.closes_at, t.started_at,
        t.placed_on_hold_at, t.selection, y.label, y.hold_min_days, y.hold_max_days, y.hold_presets,
        y.hold_on_expiry, y.hold_on_assign, y.hold_note_required, h.id AS hold_id,
        (
            SELECT count(*) FROM tasks c
            WHERE c.parent_id = t.id AND c.type_name <> 'timed_hold' AND c.status IN {_OPEN}
        ) AS open_children,
        EXISTS (
            SELECT FROM team_members m WHERE m.team_id = t.assignee_team_id AND m.user_id = :user_id
        ) AS is_team_member,
        t.plan_id IS NULL AND EXISTS (
            SELECT FROM team_members a WHERE a.user_id = :user_id AND a.is_admin AND (
                a.team_id = t.assignee_team_id OR EXISTS (
                    SELECT FROM team_members m WHERE m.team_id = a.team_id AND m.user_id = t.assignee_user_id
                )
            )
        ) AS is_team_admin
    FROM tasks t JOIN task_types y ON y.name = t.type_name
    LEFT JOIN tasks h ON h.parent_id = t.id AND h.type_name = 'timed_hold' AND h.status = 'ASSIGNED'
    WHERE t.id = :task_id
    """
)
LEVEL = text(
    """
    WITH RECURSIVE above (id, parent_id) AS (
        SELECT id, parent_id FROM tasks WHERE id = :task_id
        UNION ALL
        SELECT t.id, t.parent_id FROM above JOIN tasks t ON t.id = above.parent_id
    )
    SELECT count(*) FROM above
    """
)
STEPS = text(
    """
    SELECT s.id, s.key, c.completed_at FROM task_step_templates s
    LEFT JOIN task_step_completions c ON c.task_id = :task_id AND c.key = s.key
    WHERE s.plan_id = :plan_id AND s.generation = :generation
        AND (NOT s.is_dynamic OR s.position = ANY(CAST(:selection AS smallint[])))
        AND (c.template_id IS NULL OR c.template_id = s.id)
    UNION
    SELECT c.template_id, c.key, c.completed_at FROM task_step_completions c WHERE c.task_id = :task_id
    """
)

# --- one task ---------------------------------------------------------------------------------------------------------

# The old status is part of the condition: no row means that somebody else was faster.
MOVE = text(
    """
    WITH moved AS (
        UPDATE tasks SET
            status = :after, is_touched = true, version = version + 1,
            assigned_at = CASE WHEN :after = 'ASSIGNED' THEN :now ELSE assigned_at END,
            started_at = CASE WHEN :after = 'IN_PROGRESS' THEN coalesce(started_at, :now) ELSE started_at END,
            placed_on_hold_at = CASE WHEN :after = 'ON_HOLD' THEN :now ELSE placed_on_hold_at END,
            closed_at = CASE WHEN :after IN ('COMPLETED', 'CANCELLED') THEN :now ELSE closed_at END,
            cancelled_by_id = CASE WHEN :after = 'CANCELLED' THEN CAST(:actor_id AS uuid) ELSE cancelled_by_id END
        WHERE id = :task_id AND status = :before
        RETURNING id
    )
    INSERT INTO task_transitions (task_id, at, actor_id, from_status, to_status, reason)
    SELECT id, :now, :actor_id, :before, :after, :reason FROM moved
    """
)
# What changed without a change of status: whoever looks at the task sees it by its version.
TOUCH = text("UPDATE tasks SET version = version + 1, is_touched = true WHERE id = :task_id")
INSERT_TASK = text(
    """
    WITH made AS (
        INSERT INTO tasks (
            type_name, title, status, parent_id, root_id, replaces_id, assignee_user_id, assignee_team_id,
            assigned_by_id, created_at, assigned_at, started_at, placed_on_hold_at, plan_id, generation, opens_at,
            due_at, closes_at, selection, is_touched
        ) VALUES (
            :type_name, :title, :status, :parent_id, :root_id, :replaces_id, :assignee_user_id, :assignee_team_id,
            :actor_id, :now, :now, :started_at, :placed_on_hold_at, :plan_id, :generation, :opens_at,
            :due_at, :closes_at, :selection, true
        ) RETURNING id, status
    ), told AS (
        INSERT INTO task_transitions (task_id, at, actor_id, from_status, to_status, reason)
        SELECT id, :now, :actor_id, NULL, status, :reason FROM made
    )
    SELECT id FROM made
    """
)
OPEN_TWIN = text(
    f"""
    SELECT EXISTS (
        SELECT FROM tasks WHERE parent_id = :parent_id AND type_name = :type_name AND status IN {_OPEN}
            AND (assignee_user_id = :assignee_user_id OR assignee_team_id = :assignee_team_id)
    )
    """
)
# `is_active` null: there is no such user or team. Teams are always active.
FIND_ASSIGNEE = text(
    """
    SELECT coalesce(
            (SELECT is_active FROM users WHERE id = :user_id),
            (SELECT true FROM teams WHERE id = :team_id)
        ) AS is_active,
        EXISTS (SELECT FROM team_members a WHERE a.user_id = :actor_id AND a.is_admin) AS is_admin,
        EXISTS (
            SELECT FROM team_members a WHERE a.user_id = :actor_id AND a.is_admin AND (
                a.team_id = :team_id OR EXISTS (
                    SELECT FROM team_members m WHERE m.team_id = a.team_id AND m.user_id = :user_id
                )
            )
        ) AS is_within
    """
)
HAS_ONE_OF_PLAN = text(
    """
    SELECT EXISTS (
        SELECT FROM tasks WHERE plan_id = :plan_id AND generation = :generation
            AND assignee_user_id = :assignee_user_id AND status <> 'CANCELLED'
    )
    """
)
COMPLETE_STEP = text(
    """
    INSERT INTO task_step_completions (task_id, key, template_id, completed_at)
    VALUES (:task_id, :key, :template_id, :now)
    """
)
# What stands above a task that has just closed, or is about to be told that one has opened.
READ_PARENT = text(
    f"""
    SELECT p.id, p.type_name, p.status, p.parent_id, p.assignee_user_id, p.assignee_team_id,
        (SELECT count(*) FROM tasks c WHERE c.parent_id = p.id AND c.status IN {_OPEN}) AS open_children,
        EXISTS (
            SELECT FROM tasks c WHERE c.parent_id = p.id AND c.type_name <> 'timed_hold' AND c.status <> 'CANCELLED'
        ) AS has_kept_child
    FROM tasks p WHERE p.id = :task_id
    """
)

# --- holds ------------------------------------------------------------------------------------------------------------

PLACE_HOLD = text(
    """
    WITH made AS (
        INSERT INTO tasks (
            type_name, title, parent_id, root_id, assignee_user_id, assignee_team_id, assigned_by_id,
            created_at, assigned_at, is_touched
        ) VALUES (
            'timed_hold', :title, :parent_id, :root_id, :assignee_user_id, :assignee_team_id, :actor_id,
            :now, :now, true
        ) RETURNING id
    ), held AS (
        INSERT INTO task_holds (task_id, duration_days, starts_at, ends_at)
        SELECT id, :duration_days, :starts_at, :ends_at FROM made
    ), timed AS (
        INSERT INTO task_timers (task_id, due_at) SELECT id, :ends_at FROM made
    ), told AS (
        INSERT INTO task_transitions (task_id, at, actor_id, from_status, to_status, reason)
        SELECT id, :now, :actor_id, NULL, 'ASSIGNED', NULL FROM made
    )
    SELECT id FROM made
    """
)
# A hold, its reason and its timer end together. A timer that runs out is processed, any other one cancelled.
CLOSE_HOLD = text(
    """
    WITH closed AS (
        UPDATE tasks SET
            status = :after, closed_at = :now, version = version + 1,
            cancelled_by_id = CASE WHEN :after = 'CANCELLED' THEN CAST(:actor_id AS uuid) END
        WHERE id = :hold_id AND type_name = 'timed_hold' AND status = 'ASSIGNED'
        RETURNING id
    ), ended AS (
        UPDATE task_holds h SET end_reason = :end_reason FROM closed WHERE h.task_id = closed.id
    ), timed AS (
        UPDATE task_timers m SET
            processed_at = CASE WHEN :after = 'COMPLETED' THEN CAST(:now AS timestamptz) END,
            cancelled_at = CASE WHEN :after = 'CANCELLED' THEN CAST(:now AS timestamptz) END,
            attempts = m.attempts + CASE WHEN :after = 'COMPLETED' THEN 1 ELSE 0 END,
            next_attempt_at = NULL, last_error = NULL
        FROM closed WHERE m.task_id = closed.id AND m.processed_at IS NULL AND m.cancelled_at IS NULL
    )
    INSERT INTO task_transitions (task_id, at, actor_id, from_status, to_status, reason)
    SELECT id, :now, :actor_id, 'ASSIGNED', :after, :reason FROM closed
    """
)
MOVE_HOLD = text(
    """
    UPDATE tasks SET
        parent_id = :parent_id, root_id = :root_id, assignee_user_id = :assignee_user_id,
        assignee_team_id = :assignee_team_id, version = version + 1
    WHERE id = :hold_id AND status = 'ASSIGNED'
    """
)

# --- trees ------------------------------------------------------------------------------------------------------------

# The open children of a task that is given to somebody else go to the new one; a hold goes to its assignee too.
MOVE_CHILDREN = text(
    f"""
    UPDATE tasks SET
        parent_id = :new_id, version = version + 1,
        assignee_user_id = CASE WHEN type_name = 'timed_hold' THEN :assignee_user_id ELSE assignee_user_id END,
        assignee_team_id = CASE WHEN type_name = 'timed_hold' THEN :assignee_team_id ELSE assignee_team_id END
    WHERE parent_id = :old_id AND status IN {_OPEN}
    RETURNING id
    """
)
# Everything below the new one, closed tasks included, is of its tree from now on.
MOVE_TREE = text(
    """
    WITH RECURSIVE below (id) AS (
        SELECT id FROM tasks WHERE parent_id = :new_id
        UNION ALL
        SELECT t.id FROM below JOIN tasks t ON t.parent_id = below.id
    )
    UPDATE tasks t SET root_id = :root_id FROM below WHERE t.id = below.id AND t.root_id <> :root_id
    """
)
MOVE_STEPS = text("UPDATE task_step_completions SET task_id = :new_id WHERE task_id = :old_id")
COPY_NOTES = text(
    """
    INSERT INTO task_notes (task_id, at, actor_id, text)
    SELECT :new_id, at, actor_id, text FROM task_notes WHERE task_id = :old_id ORDER BY id
    """
)
# A closed task has no open descendants below closed ones: an open child keeps its parent on hold. So only open rows
# are walked through.
CANCEL_BELOW = text(
    f"""
    WITH RECURSIVE below (id, before, is_hold, assignee_user_id, assignee_team_id) AS (
        SELECT id, status, type_name = 'timed_hold', assignee_user_id, assignee_team_id FROM tasks
        WHERE parent_id = ANY(CAST(:task_ids AS uuid[])) AND status IN {_OPEN}
        UNION ALL
        SELECT t.id, t.status, t.type_name = 'timed_hold', t.assignee_user_id, t.assignee_team_id
        FROM below JOIN tasks t ON t.parent_id = below.id AND t.status IN {_OPEN}
    ), closed AS (
        UPDATE tasks t SET
            status = 'CANCELLED', closed_at = :now, cancelled_by_id = :actor_id, version = t.version + 1,
            is_touched = true
        FROM below WHERE t.id = below.id AND t.status = below.before
        RETURNING t.id
    ), ended AS (
        UPDATE task_holds h SET end_reason = 'TASK_CLOSED' FROM below WHERE h.task_id = below.id
    ), timed AS (
        UPDATE task_timers m SET cancelled_at = :now, next_attempt_at = NULL FROM below
        WHERE m.task_id = below.id AND m.processed_at IS NULL AND m.cancelled_at IS NULL
    ), told AS (
        INSERT INTO task_transitions (task_id, at, actor_id, from_status, to_status, reason)
        SELECT below.id, :now, :actor_id, below.before, 'CANCELLED', :reason FROM below
    ), noted AS (
        INSERT INTO task_notes (task_id, at, actor_id, text)
        SELECT below.id, :now, :actor_id, CAST(:reason AS text) FROM below
        WHERE CAST(:reason AS text) IS NOT NULL AND NOT below.is_hold
    )
    SELECT below.id, below.is_hold, below.assignee_user_id, below.assignee_team_id
    FROM below JOIN closed ON closed.id = below.id
    """
)

# --- timers -----------------------------------------------------------------------------------------------------------

TRY_PLAN = text("SELECT id FROM plans WHERE id = :plan_id FOR KEY SHARE SKIP LOCKED")
TRY_ROOT = text("SELECT id FROM tasks WHERE id = :root_id FOR UPDATE SKIP LOCKED")
# In the order of the list: the task, its hold, the timer. Whatever was true when the timer was found is asked again.
TRY_TIMER = text(
    f"""
    SELECT p.id, p.type_name, p.status, p.parent_id, p.assignee_user_id, p.assignee_team_id, h.status AS hold_status,
        y.hold_on_expiry,
        (
            SELECT count(*) FROM tasks c WHERE c.parent_id = p.id AND c.id <> h.id AND c.status IN {_OPEN}
        ) AS open_children,
        CASE WHEN p.plan_id IS NULL OR y.hold_on_expiry IS DISTINCT FROM 'COMPLETE' THEN 0 ELSE (
            SELECT count(*) FROM task_step_templates s
            WHERE s.plan_id = p.plan_id AND s.generation = p.generation
                AND (NOT s.is_dynamic OR s.position = ANY(p.selection))
                AND NOT EXISTS (SELECT FROM task_step_completions c WHERE c.task_id = p.id AND c.key = s.key)
        ) END AS missing_steps
    FROM task_timers m
    JOIN tasks h ON h.id = m.task_id
    JOIN tasks p ON p.id = h.parent_id
    JOIN task_types y ON y.name = p.type_name
    WHERE m.task_id = :hold_id AND h.root_id = :root_id AND m.processed_at IS NULL AND m.cancelled_at IS NULL
        AND coalesce(m.next_attempt_at, m.due_at) <= :now
    FOR UPDATE OF p, h, m SKIP LOCKED
    """
)
CANCEL_TIMER = text(
    """
    UPDATE task_timers SET cancelled_at = :now, next_attempt_at = NULL
    WHERE task_id = :hold_id AND processed_at IS NULL AND cancelled_at IS NULL
    """
)
READ_ATTEMPTS = text(
    """
    SELECT attempts FROM task_timers
    WHERE task_id = :hold_id AND processed_at IS NULL AND cancelled_at IS NULL FOR UPDATE
    """
)
NOTE_FAILURE = text(
    """
    UPDATE task_timers SET attempts = :attempts, next_attempt_at = :next_attempt_at, last_error = :error
    WHERE task_id = :hold_id AND processed_at IS NULL AND cancelled_at IS NULL
    """
)
