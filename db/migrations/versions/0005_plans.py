"""The tables of plans."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE plans (
        id UUID DEFAULT uuidv7() NOT NULL,
        course_id UUID NOT NULL,
        type TEXT NOT NULL,
        title TEXT NOT NULL,
        description TEXT DEFAULT '' NOT NULL,
        settings JSONB NOT NULL,
        state TEXT DEFAULT 'DRAFT' NOT NULL,
        state_before_publish TEXT,
        publish_last_requested_at TIMESTAMP WITH TIME ZONE,
        first_published_at TIMESTAMP WITH TIME ZONE,
        last_published_at TIMESTAMP WITH TIME ZONE,
        withdrawn_at TIMESTAMP WITH TIME ZONE,
        publish_generation INTEGER DEFAULT 0 NOT NULL,
        live_generation INTEGER DEFAULT 0 NOT NULL,
        live_opens_at TIMESTAMP WITH TIME ZONE,
        is_replacing BOOLEAN DEFAULT false NOT NULL,
        publish_job_id UUID,
        revision INTEGER DEFAULT 1 NOT NULL,
        version BIGINT DEFAULT 0 NOT NULL,
        created_by_id UUID,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT pk_plans PRIMARY KEY (id),
        CONSTRAINT ck_plans_state
            CHECK (state IN ('DRAFT', 'PUBLISHING', 'PUBLISHED', 'PUBLISH_FAILED', 'WITHDRAWN')),
        CONSTRAINT ck_plans_type CHECK (type IN ('READING', 'HOMEWORK', 'EXTERNAL', 'EVENT')),
        CONSTRAINT ck_plans_state_before_publish
            CHECK (state_before_publish IN ('DRAFT', 'PUBLISHING', 'PUBLISHED', 'PUBLISH_FAILED', 'WITHDRAWN')),
        CONSTRAINT ck_plans_title CHECK (length(title) BETWEEN 1 AND 255),
        CONSTRAINT ck_plans_withdrawn_has_instant CHECK ((state = 'WITHDRAWN') = (withdrawn_at IS NOT NULL)),
        CONSTRAINT ck_plans_published_has_instant CHECK (state <> 'PUBLISHED' OR first_published_at IS NOT NULL),
        CONSTRAINT ck_plans_publishing_was_requested
            CHECK (state NOT IN ('PUBLISHING', 'PUBLISH_FAILED') OR publish_last_requested_at IS NOT NULL),
        CONSTRAINT ck_plans_publishing_has_a_way_back
            CHECK (state <> 'PUBLISHING' OR state_before_publish IS NOT NULL),
        CONSTRAINT ck_plans_published_instants CHECK ((first_published_at IS NULL) = (last_published_at IS NULL)),
        CONSTRAINT ck_plans_published_order CHECK (first_published_at <= last_published_at),
        CONSTRAINT ck_plans_live_was_requested CHECK (live_generation BETWEEN 0 AND publish_generation),
        CONSTRAINT ck_plans_live_has_opening CHECK ((live_generation = 0) = (live_opens_at IS NULL)),
        CONSTRAINT fk_plans_course_id FOREIGN KEY(course_id) REFERENCES courses (id),
        CONSTRAINT fk_plans_created_by_id FOREIGN KEY(created_by_id) REFERENCES users (id)
    )
    """,
    """
    CREATE INDEX ix_plans_course_id ON plans (course_id)
    """,
    """
    CREATE TABLE tasking_plans (
        id UUID DEFAULT uuidv7() NOT NULL,
        plan_id UUID NOT NULL,
        course_id UUID,
        class_id UUID,
        user_id UUID,
        opens_at TIMESTAMP WITH TIME ZONE NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE NOT NULL,
        closes_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_tasking_plans PRIMARY KEY (id),
        CONSTRAINT ck_tasking_plans_one_target CHECK (num_nonnulls(course_id, class_id, user_id) = 1),
        CONSTRAINT ck_tasking_plans_dates CHECK (opens_at <= due_at AND due_at <= closes_at),
        CONSTRAINT fk_tasking_plans_plan_id FOREIGN KEY(plan_id) REFERENCES plans (id) ON DELETE CASCADE,
        CONSTRAINT fk_tasking_plans_course_id FOREIGN KEY(course_id) REFERENCES courses (id),
        CONSTRAINT fk_tasking_plans_class_id FOREIGN KEY(class_id) REFERENCES classes (id),
        CONSTRAINT fk_tasking_plans_user_id FOREIGN KEY(user_id) REFERENCES users (id)
    )
    """,
    """
    CREATE INDEX ix_tasking_plans_by_class ON tasking_plans (class_id) WHERE class_id IS NOT NULL
    """,
    """
    CREATE INDEX ix_tasking_plans_by_due ON tasking_plans (plan_id, due_at)
    """,
    """
    CREATE INDEX ix_tasking_plans_by_user ON tasking_plans (user_id) WHERE user_id IS NOT NULL
    """,
    """
    CREATE UNIQUE INDEX uq_tasking_plans_target ON tasking_plans (plan_id, coalesce(course_id, class_id, user_id))
    """,
)

KEYS = (
    "ALTER TABLE tasks ADD CONSTRAINT fk_tasks_plan_id FOREIGN KEY (plan_id) REFERENCES plans (id)",
    """
    ALTER TABLE task_step_templates
        ADD CONSTRAINT fk_task_step_templates_plan_id FOREIGN KEY (plan_id) REFERENCES plans (id)
    """,
)

# When publication was last requested is a fact that only moves forward, whoever writes the row and how.
GUARD = (
    """
    CREATE FUNCTION plans_request_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF OLD.publish_last_requested_at IS NOT NULL AND (
            NEW.publish_last_requested_at IS NULL OR NEW.publish_last_requested_at < OLD.publish_last_requested_at
        ) THEN
            RAISE EXCEPTION 'publish_last_requested_at never becomes null or smaller'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_plans_request_only_grows', TABLE = 'plans';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER plans_request_only_grows BEFORE UPDATE OF publish_last_requested_at ON plans
        FOR EACH ROW EXECUTE FUNCTION plans_request_only_grows()
    """,
)

# Streams compare the version of what they sent with the one that is stored.
VERSION = (
    """
    CREATE FUNCTION plans_version_grows() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.version := OLD.version + 1;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER plans_version_grows BEFORE UPDATE ON plans
        FOR EACH ROW EXECUTE FUNCTION plans_version_grows()
    """,
)


def upgrade() -> None:
    for statement in (*TABLES, *KEYS, *GUARD, *VERSION):
        op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE tasks DROP CONSTRAINT fk_tasks_plan_id")
    op.execute("ALTER TABLE task_step_templates DROP CONSTRAINT fk_task_step_templates_plan_id")
    op.execute("DROP TABLE tasking_plans, plans")
    op.execute("DROP FUNCTION plans_request_only_grows(), plans_version_grows()")
