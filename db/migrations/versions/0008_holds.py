"""Holds, timers and trees of tasks."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

UP = (
    "ALTER TABLE tasks ADD COLUMN root_id UUID, ADD COLUMN replaces_id UUID",
    """
    WITH RECURSIVE below (id, root_id) AS (
        SELECT id, parent_id FROM tasks t WHERE parent_id IN (SELECT id FROM tasks WHERE parent_id IS NULL)
        UNION ALL
        SELECT t.id, below.root_id FROM tasks t JOIN below ON t.parent_id = below.id
    )
    UPDATE tasks t SET root_id = below.root_id FROM below WHERE t.id = below.id
    """,
    """
    ALTER TABLE tasks
        ADD CONSTRAINT ck_tasks_below_a_root CHECK ((root_id IS NULL) = (parent_id IS NULL)),
        ADD CONSTRAINT ck_tasks_plan_task_is_root CHECK (plan_id IS NULL OR parent_id IS NULL),
        ADD CONSTRAINT ck_tasks_hold CHECK (type_name <> 'timed_hold'
            OR (parent_id IS NOT NULL AND status IN ('ASSIGNED', 'COMPLETED', 'CANCELLED')))
    """,
    "DROP INDEX ix_tasks_by_parent, ix_tasks_by_team, ix_tasks_closed_by_user, ix_tasks_open_by_user",
    """
    CREATE INDEX ix_tasks_active_by_user ON tasks (assignee_user_id, assigned_at DESC, id DESC)
        WHERE status IN ('ASSIGNED', 'IN_PROGRESS') AND type_name <> 'timed_hold'
    """,
    "CREATE INDEX ix_tasks_on_hold_by_user ON tasks (assignee_user_id) WHERE status = 'ON_HOLD'",
    """
    CREATE INDEX ix_tasks_closed_by_user ON tasks (assignee_user_id, closed_at DESC, id DESC)
        WHERE status IN ('COMPLETED', 'CANCELLED') AND type_name <> 'timed_hold'
    """,
    """
    CREATE INDEX ix_tasks_active_by_team ON tasks (assignee_team_id, assigned_at DESC, id DESC)
        WHERE status IN ('ASSIGNED', 'IN_PROGRESS') AND type_name <> 'timed_hold' AND assignee_team_id IS NOT NULL
    """,
    """
    CREATE INDEX ix_tasks_on_hold_by_team ON tasks (assignee_team_id, assigned_at DESC, id DESC)
        WHERE status = 'ON_HOLD' AND assignee_team_id IS NOT NULL
    """,
    """
    CREATE INDEX ix_tasks_closed_by_team ON tasks (assignee_team_id, closed_at DESC, id DESC)
        WHERE status IN ('COMPLETED', 'CANCELLED') AND type_name <> 'timed_hold' AND assignee_team_id IS NOT NULL
    """,
    "CREATE INDEX ix_tasks_by_parent ON tasks (parent_id, id) WHERE parent_id IS NOT NULL",
    """
    CREATE INDEX ix_tasks_open_by_parent ON tasks (parent_id, type_name)
        WHERE parent_id IS NOT NULL AND status IN ('ASSIGNED', 'IN_PROGRESS', 'ON_HOLD')
    """,
    """
    CREATE UNIQUE INDEX uq_tasks_open_hold ON tasks (parent_id)
        WHERE type_name = 'timed_hold' AND status = 'ASSIGNED'
    """,
    "CREATE INDEX ix_tasks_by_root ON tasks (root_id, id) WHERE root_id IS NOT NULL",
    "CREATE INDEX ix_tasks_by_assigner ON tasks (assigned_by_id, id) WHERE plan_id IS NULL",
    """
    CREATE TABLE task_holds (
        task_id UUID NOT NULL,
        duration_days SMALLINT NOT NULL,
        starts_at TIMESTAMP WITH TIME ZONE NOT NULL,
        ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
        end_reason TEXT,
        CONSTRAINT pk_task_holds PRIMARY KEY (task_id),
        CONSTRAINT ck_task_holds_duration CHECK (duration_days >= 1),
        CONSTRAINT ck_task_holds_ends_after_duration
            CHECK (ends_at - starts_at = duration_days * interval '24 hours'),
        CONSTRAINT ck_task_holds_end_reason
            CHECK (end_reason IN ('EXPIRED', 'ENDED_EARLY', 'SUPERSEDED', 'CHILD_CREATED', 'TASK_CLOSED')),
        CONSTRAINT fk_task_holds_task_id FOREIGN KEY(task_id) REFERENCES tasks (id)
    )
    """,
    """
    CREATE TABLE task_timers (
        task_id UUID NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE NOT NULL,
        attempts INTEGER DEFAULT 0 NOT NULL,
        next_attempt_at TIMESTAMP WITH TIME ZONE,
        last_error TEXT,
        processed_at TIMESTAMP WITH TIME ZONE,
        cancelled_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_task_timers PRIMARY KEY (task_id),
        CONSTRAINT ck_task_timers_one_end CHECK (processed_at IS NULL OR cancelled_at IS NULL),
        CONSTRAINT ck_task_timers_attempts CHECK (attempts >= 0),
        CONSTRAINT fk_task_timers_task_id FOREIGN KEY(task_id) REFERENCES task_holds (task_id)
    )
    """,
    """
    CREATE INDEX ix_task_timers_due ON task_timers ((coalesce(next_attempt_at, due_at)), task_id)
        WHERE processed_at IS NULL AND cancelled_at IS NULL
    """,
    """
    CREATE INDEX ix_task_timers_failing ON task_timers (task_id)
        WHERE last_error IS NOT NULL AND processed_at IS NULL AND cancelled_at IS NULL
    """,
)

DOWN = (
    "DROP TABLE task_timers, task_holds",
    """
    DROP INDEX ix_tasks_active_by_user, ix_tasks_on_hold_by_user, ix_tasks_closed_by_user, ix_tasks_active_by_team,
        ix_tasks_on_hold_by_team, ix_tasks_closed_by_team, ix_tasks_by_parent, ix_tasks_open_by_parent,
        uq_tasks_open_hold, ix_tasks_by_root, ix_tasks_by_assigner
    """,
    """
    ALTER TABLE tasks DROP CONSTRAINT ck_tasks_below_a_root, DROP CONSTRAINT ck_tasks_plan_task_is_root,
        DROP CONSTRAINT ck_tasks_hold, DROP COLUMN root_id, DROP COLUMN replaces_id
    """,
    "CREATE INDEX ix_tasks_by_parent ON tasks (parent_id) WHERE parent_id IS NOT NULL",
    """
    CREATE INDEX ix_tasks_by_team ON tasks (assignee_team_id, status, assigned_at DESC, id DESC)
        WHERE assignee_team_id IS NOT NULL
    """,
    """
    CREATE INDEX ix_tasks_closed_by_user ON tasks (assignee_user_id, closed_at DESC, id DESC)
        WHERE status IN ('COMPLETED', 'CANCELLED')
    """,
    """
    CREATE INDEX ix_tasks_open_by_user ON tasks (assignee_user_id, assigned_at DESC, id DESC)
        WHERE status IN ('ASSIGNED', 'IN_PROGRESS', 'ON_HOLD')
    """,
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)
