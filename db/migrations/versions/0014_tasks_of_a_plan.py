"""Whether a task still refers to a draft that is deleted: answered by ranges of blocks, at no cost to a publication."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE INDEX ix_tasks_of_plan ON tasks USING brin (plan_id) WITH (pages_per_range=32, autosummarize=on)"
    )


def downgrade() -> None:
    op.execute("DROP INDEX ix_tasks_of_plan")
