"""What a key has under way is counted with what its queue has, by the state: the index of busy keys answered nobody."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DROP INDEX ix_jobs_concurrency_key")


def downgrade() -> None:
    op.execute(
        "CREATE INDEX ix_jobs_concurrency_key ON jobs (concurrency_key)"
        " WHERE concurrency_key IS NOT NULL AND state IN ('dispatched', 'running')"
    )
