"""Dispatching by lanes, so that what cannot run now costs nothing: paused and limited queues, unknown kinds."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DROP INDEX ix_jobs_due")
    op.execute(
        "CREATE INDEX ix_jobs_waiting ON jobs (queue, kind, priority, scheduled_at, id) WHERE state IN ('queued')"
    )
    op.execute("""
        CREATE INDEX ix_jobs_waiting_by_key ON jobs (queue, concurrency_key, priority, scheduled_at, id)
        WHERE state IN ('queued') AND concurrency_key IS NOT NULL
    """)
    # A lane is a queue and a kind with jobs that wait. They are few, and found by jumping from one to the next in the
    # index. Open are those of queues that are not paused and of kinds that some worker knows.
    op.execute("""
        CREATE FUNCTION open_lanes(alive_since timestamptz)
        RETURNS TABLE (queue text, kind text, is_limited boolean) LANGUAGE sql STABLE AS $$
            WITH RECURSIVE lane AS (
                (
                    SELECT jobs.queue, jobs.kind FROM jobs WHERE state = 'queued'
                    ORDER BY jobs.queue, jobs.kind LIMIT 1
                )
                UNION ALL
                SELECT another.queue, another.kind FROM lane CROSS JOIN LATERAL (
                    SELECT jobs.queue, jobs.kind FROM jobs
                    WHERE state = 'queued' AND (jobs.queue, jobs.kind) > (lane.queue, lane.kind)
                    ORDER BY jobs.queue, jobs.kind LIMIT 1
                ) AS another
            )
            SELECT lane.queue, lane.kind,
                coalesce(queues.max_running IS NOT NULL OR queues.max_running_per_key IS NOT NULL, false)
            FROM lane LEFT JOIN queues ON queues.name = lane.queue
            WHERE queues.paused_at IS NULL AND EXISTS (
                SELECT FROM workers WHERE workers.seen_at > alive_since AND NOT is_draining
                    AND lane.kind = ANY (workers.kinds)
            )
        $$
    """)
    _slim()
    _lists()


def _slim() -> None:
    # A job without subject or actor takes no place in their indexes: each change of its state would write it anew.
    op.execute("DROP INDEX ix_jobs_subject_id, ix_jobs_actor_id")
    op.execute("CREATE INDEX ix_jobs_subject_id ON jobs (subject_id, id) WHERE subject_id IS NOT NULL")
    op.execute("CREATE INDEX ix_jobs_actor_id ON jobs (actor_id, id) WHERE actor_id IS NOT NULL")


def _lists() -> None:
    # Operators' lists: an index entry when a job ends, so that a rare kind or queue is found among millions of others;
    # and the few that failed, were put aside or cancelled, newest first.
    op.execute("CREATE INDEX ix_jobs_ended_kind ON jobs (kind, queue, id) WHERE finished_at IS NOT NULL")
    op.execute("CREATE INDEX ix_jobs_failed ON jobs (id) WHERE state IN ('failed', 'quarantined')")
    op.execute("CREATE INDEX ix_jobs_quarantined ON jobs (id) WHERE state IN ('quarantined')")
    op.execute("CREATE INDEX ix_jobs_cancelled ON jobs (id) WHERE state IN ('cancelled')")


def downgrade() -> None:
    op.execute("DROP INDEX ix_jobs_ended_kind, ix_jobs_failed, ix_jobs_quarantined, ix_jobs_cancelled")
    op.execute("DROP INDEX ix_jobs_subject_id, ix_jobs_actor_id")
    op.execute("CREATE INDEX ix_jobs_subject_id ON jobs (subject_id, id)")
    op.execute("CREATE INDEX ix_jobs_actor_id ON jobs (actor_id, id)")
    op.execute("DROP FUNCTION open_lanes")
    op.execute("DROP INDEX ix_jobs_waiting_by_key")
    op.execute("DROP INDEX ix_jobs_waiting")
    op.execute("CREATE INDEX ix_jobs_due ON jobs (priority, scheduled_at, id) WHERE state IN ('queued')")
