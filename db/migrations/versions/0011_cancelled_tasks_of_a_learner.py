"""A learner's cancelled tasks of a plan are looked up like the others: a page of the plan's tasks asks for both."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DROP INDEX ix_tasks_cancelled_of_plan")
    op.execute(
        "CREATE INDEX ix_tasks_cancelled_of_plan ON tasks (plan_id, generation, assignee_user_id)"
        " WHERE plan_id IS NOT NULL AND status = 'CANCELLED'"
    )


def downgrade() -> None:
    op.execute("DROP INDEX ix_tasks_cancelled_of_plan")
    op.execute(
        "CREATE INDEX ix_tasks_cancelled_of_plan ON tasks (plan_id, generation)"
        " WHERE plan_id IS NOT NULL AND status = 'CANCELLED'"
    )
