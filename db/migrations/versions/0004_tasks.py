"""The tables of tasks."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE task_types (
        name TEXT NOT NULL,
        label TEXT NOT NULL,
        hold_min_days SMALLINT,
        hold_max_days SMALLINT,
        hold_presets SMALLINT[] DEFAULT '{}' NOT NULL,
        hold_on_expiry TEXT,
        hold_on_assign TEXT,
        hold_note_required BOOLEAN DEFAULT false NOT NULL,
        CONSTRAINT pk_task_types PRIMARY KEY (name),
        CONSTRAINT ck_task_types_hold_is_whole
            CHECK ((hold_min_days IS NULL) = (hold_max_days IS NULL)
            AND (hold_min_days IS NULL) = (hold_on_expiry IS NULL)
            AND (hold_min_days IS NULL) = (hold_on_assign IS NULL)),
        CONSTRAINT ck_task_types_hold_range CHECK (hold_min_days BETWEEN 1 AND hold_max_days),
        CONSTRAINT ck_task_types_hold_on_expiry CHECK (hold_on_expiry IN ('RESUME', 'COMPLETE')),
        CONSTRAINT ck_task_types_hold_on_assign CHECK (hold_on_assign IN ('CANCEL', 'MOVE'))
    )
    """,
    """
    CREATE TABLE tasks (
        id UUID DEFAULT uuidv7() NOT NULL,
        type_name TEXT NOT NULL,
        title TEXT NOT NULL,
        status TEXT DEFAULT 'ASSIGNED' NOT NULL,
        parent_id UUID,
        assignee_user_id UUID,
        assignee_team_id UUID,
        assigned_by_id UUID,
        cancelled_by_id UUID,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        assigned_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        started_at TIMESTAMP WITH TIME ZONE,
        placed_on_hold_at TIMESTAMP WITH TIME ZONE,
        closed_at TIMESTAMP WITH TIME ZONE,
        plan_id UUID,
        generation INTEGER,
        opens_at TIMESTAMP WITH TIME ZONE,
        due_at TIMESTAMP WITH TIME ZONE,
        closes_at TIMESTAMP WITH TIME ZONE,
        selection SMALLINT[],
        is_touched BOOLEAN DEFAULT false NOT NULL,
        version BIGINT DEFAULT 0 NOT NULL,
        CONSTRAINT pk_tasks PRIMARY KEY (id),
        CONSTRAINT ck_tasks_status CHECK (status IN ('ASSIGNED', 'IN_PROGRESS', 'ON_HOLD', 'COMPLETED', 'CANCELLED')),
        CONSTRAINT ck_tasks_one_assignee CHECK ((assignee_user_id IS NULL) <> (assignee_team_id IS NULL)),
        CONSTRAINT ck_tasks_closed_has_instant
            CHECK ((status IN ('COMPLETED', 'CANCELLED')) = (closed_at IS NOT NULL)),
        CONSTRAINT ck_tasks_on_hold_has_instant CHECK (status <> 'ON_HOLD' OR placed_on_hold_at IS NOT NULL),
        CONSTRAINT ck_tasks_in_progress_has_instant CHECK (status <> 'IN_PROGRESS' OR started_at IS NOT NULL),
        CONSTRAINT ck_tasks_plan_has_generation CHECK ((plan_id IS NULL) = (generation IS NULL)),
        CONSTRAINT ck_tasks_dates CHECK (opens_at <= due_at AND due_at <= closes_at),
        CONSTRAINT ck_tasks_not_its_own_parent CHECK (id <> parent_id),
        CONSTRAINT fk_tasks_type_name FOREIGN KEY(type_name) REFERENCES task_types (name),
        CONSTRAINT fk_tasks_parent_id FOREIGN KEY(parent_id) REFERENCES tasks (id),
        CONSTRAINT fk_tasks_assignee_user_id FOREIGN KEY(assignee_user_id) REFERENCES users (id),
        CONSTRAINT fk_tasks_assignee_team_id FOREIGN KEY(assignee_team_id) REFERENCES teams (id),
        CONSTRAINT fk_tasks_assigned_by_id FOREIGN KEY(assigned_by_id) REFERENCES users (id),
        CONSTRAINT fk_tasks_cancelled_by_id FOREIGN KEY(cancelled_by_id) REFERENCES users (id)
    )
    """,
    """
    CREATE INDEX ix_tasks_by_parent ON tasks (parent_id) WHERE parent_id IS NOT NULL
    """,
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
    """
    CREATE INDEX ix_tasks_cancelled_of_plan ON tasks (plan_id, generation)
        WHERE plan_id IS NOT NULL AND status = 'CANCELLED'
    """,
    """
    CREATE INDEX ix_tasks_touched ON tasks (plan_id, generation) WHERE plan_id IS NOT NULL AND is_touched
    """,
    """
    CREATE UNIQUE INDEX uq_tasks_plan_generation_assignee ON tasks (plan_id, generation, assignee_user_id)
        WHERE plan_id IS NOT NULL AND status <> 'CANCELLED'
    """,
    """
    CREATE TABLE task_transitions (
        id UUID DEFAULT uuidv7() NOT NULL,
        task_id UUID NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        actor_id UUID,
        from_status TEXT,
        to_status TEXT NOT NULL,
        reason TEXT,
        CONSTRAINT pk_task_transitions PRIMARY KEY (id),
        CONSTRAINT ck_task_transitions_from_status
            CHECK (from_status IN ('ASSIGNED', 'IN_PROGRESS', 'ON_HOLD', 'COMPLETED', 'CANCELLED')),
        CONSTRAINT ck_task_transitions_to_status
            CHECK (to_status IN ('ASSIGNED', 'IN_PROGRESS', 'ON_HOLD', 'COMPLETED', 'CANCELLED')),
        CONSTRAINT fk_task_transitions_task_id FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE,
        CONSTRAINT fk_task_transitions_actor_id FOREIGN KEY(actor_id) REFERENCES users (id)
    )
    """,
    """
    CREATE INDEX ix_task_transitions_task_id_id ON task_transitions (task_id, id)
    """,
    """
    CREATE TABLE task_notes (
        id UUID DEFAULT uuidv7() NOT NULL,
        task_id UUID NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        actor_id UUID,
        text TEXT NOT NULL,
        CONSTRAINT pk_task_notes PRIMARY KEY (id),
        CONSTRAINT ck_task_notes_not_blank CHECK (text <> ''),
        CONSTRAINT fk_task_notes_task_id FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE,
        CONSTRAINT fk_task_notes_actor_id FOREIGN KEY(actor_id) REFERENCES users (id)
    )
    """,
    """
    CREATE INDEX ix_task_notes_task_id_id ON task_notes (task_id, id)
    """,
    """
    CREATE TABLE task_step_templates (
        id UUID DEFAULT uuidv7() NOT NULL,
        plan_id UUID NOT NULL,
        generation INTEGER NOT NULL,
        position SMALLINT NOT NULL,
        key TEXT NOT NULL,
        kind TEXT NOT NULL,
        title TEXT NOT NULL,
        content JSONB NOT NULL,
        is_dynamic BOOLEAN DEFAULT false NOT NULL,
        CONSTRAINT pk_task_step_templates PRIMARY KEY (id)
    )
    """,
    """
    CREATE UNIQUE INDEX uq_task_step_templates_key ON task_step_templates (plan_id, generation, key)
    """,
    """
    CREATE UNIQUE INDEX uq_task_step_templates_place ON task_step_templates (plan_id, generation, position)
    """,
    """
    CREATE TABLE task_step_completions (
        task_id UUID NOT NULL,
        key TEXT NOT NULL,
        template_id UUID NOT NULL,
        completed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_task_step_completions PRIMARY KEY (task_id, key),
        CONSTRAINT fk_task_step_completions_task_id FOREIGN KEY(task_id) REFERENCES tasks (id),
        CONSTRAINT fk_task_step_completions_template_id FOREIGN KEY(template_id) REFERENCES task_step_templates (id)
    )
    """,
    """
    CREATE INDEX ix_task_step_completions_template_id ON task_step_completions (template_id)
    """,
)

# Name, label, shortest and longest hold in days, the presets offered, what its end does, what assigning does to it.
TASK_TYPES = """
    INSERT INTO task_types
        (name, label, hold_min_days, hold_max_days, hold_presets, hold_on_expiry, hold_on_assign)
    VALUES
        ('general', 'Task', 1, 120, '{15,30,45,60,90,120}', 'RESUME', 'CANCEL'),
        ('response_window', 'Response window', 45, 364, '{45,90,180,364}', 'RESUME', 'MOVE'),
        ('no_show', 'No show', 1, 120, '{}', 'COMPLETE', 'CANCEL'),
        ('decision', 'Decision', NULL, NULL, '{}', NULL, NULL),
        ('reading', 'Reading', 1, 120, '{}', 'RESUME', 'CANCEL'),
        ('homework', 'Homework', 1, 120, '{}', 'RESUME', 'CANCEL'),
        ('external', 'External assignment', 1, 120, '{}', 'RESUME', 'CANCEL'),
        ('event', 'Event', 1, 120, '{}', 'RESUME', 'CANCEL'),
        ('timed_hold', 'Timed hold', NULL, NULL, '{}', NULL, NULL)
"""


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    op.execute(TASK_TYPES)


def downgrade() -> None:
    op.execute("DROP TABLE task_step_completions, task_step_templates, task_notes, task_transitions, tasks, task_types")
