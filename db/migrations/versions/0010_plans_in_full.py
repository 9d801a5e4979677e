"""What plans need to be withdrawn, restored, extended, counted and joined late."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE plan_extensions (
        id UUID DEFAULT uuidv7() NOT NULL,
        plan_id UUID NOT NULL,
        course_id UUID,
        class_id UUID,
        user_id UUID,
        actor_id UUID NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL,
        due_before TIMESTAMP WITH TIME ZONE NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE NOT NULL,
        closes_before TIMESTAMP WITH TIME ZONE NOT NULL,
        closes_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_plan_extensions PRIMARY KEY (id),
        CONSTRAINT ck_plan_extensions_one_target CHECK (num_nonnulls(course_id, class_id, user_id) = 1),
        CONSTRAINT ck_plan_extensions_only_later CHECK (
            due_at >= due_before AND closes_at >= closes_before AND (due_at > due_before OR closes_at > closes_before)
        ),
        CONSTRAINT fk_plan_extensions_plan_id FOREIGN KEY(plan_id) REFERENCES plans (id) ON DELETE CASCADE,
        CONSTRAINT fk_plan_extensions_course_id FOREIGN KEY(course_id) REFERENCES courses (id),
        CONSTRAINT fk_plan_extensions_class_id FOREIGN KEY(class_id) REFERENCES classes (id),
        CONSTRAINT fk_plan_extensions_user_id FOREIGN KEY(user_id) REFERENCES users (id),
        CONSTRAINT fk_plan_extensions_actor_id FOREIGN KEY(actor_id) REFERENCES users (id)
    )
    """,
    """
    CREATE TABLE plan_roster_changes (
        plan_id UUID NOT NULL,
        user_id UUID NOT NULL,
        CONSTRAINT pk_plan_roster_changes PRIMARY KEY (plan_id, user_id),
        CONSTRAINT fk_plan_roster_changes_plan_id FOREIGN KEY(plan_id) REFERENCES plans (id) ON DELETE CASCADE,
        CONSTRAINT fk_plan_roster_changes_user_id FOREIGN KEY(user_id) REFERENCES users (id)
    )
    """,
    "CREATE INDEX ix_plan_extensions_plan_id_id ON plan_extensions (plan_id, id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE plan_extensions, plan_roster_changes")
