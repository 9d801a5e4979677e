"""Dispatching: what the dispatcher needs to honour limits."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _lists()


def _lists() -> None:
    # Operators' lists: an index entry when a job ends, so that a rare kind or queue is found among millions of others;
    # and the few that failed, were put aside or cancelled, newest first.
    op.execute("CREATE INDEX ix_jobs_ended_kind ON jobs (kind, queue, id) WHERE finished_at IS NOT NULL")
    op.execute("CREATE INDEX ix_jobs_failed ON jobs (id) WHERE state IN ('failed', 'quarantined')")
    op.execute("CREATE INDEX ix_jobs_quarantined ON jobs (id) WHERE state IN ('quarantined')")
    op.execute("CREATE INDEX ix_jobs_cancelled ON jobs (id) WHERE state IN ('cancelled')")


def downgrade() -> None:
    op.execute("DROP INDEX ix_jobs_ended_kind, ix_jobs_failed, ix_jobs_quarantined, ix_jobs_cancelled")
