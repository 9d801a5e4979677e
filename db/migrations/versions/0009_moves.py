"""Which transaction wrote an event, so that a console sees what has been committed since it looked last."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # In two steps: a default that differs from row to row would write the whole table anew. What is there stays null.
    op.execute("ALTER TABLE job_events ADD COLUMN written_by bigint")
    op.execute("ALTER TABLE job_events ALTER COLUMN written_by SET DEFAULT pg_current_xact_id()::text::bigint")
    # Numbers only grow, so each is put at the index's end, and all events of a transaction share an entry.
    op.execute("CREATE INDEX ix_job_events_written_by ON job_events (written_by)")


def downgrade() -> None:
    op.execute("ALTER TABLE job_events DROP COLUMN written_by")
