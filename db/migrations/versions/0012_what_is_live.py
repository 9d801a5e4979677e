"""What the live generation of a plan was made of, for what is saved may be newer and never go live; and that a draft
has none: it was never published, so `deletePlan` may delete it."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE plans ADD live_content JSONB,
        ADD CONSTRAINT ck_plans_draft_was_never_published CHECK (state <> 'DRAFT' OR first_published_at IS NULL)
    """,
    # Nothing tells what older plans have live, where a later publication of theirs has failed: what is saved is taken.
    """
    UPDATE plans SET is_replacing = is_replacing AND state = 'PUBLISHING', live_content = jsonb_build_object(
        'settings', settings, 'taskings', (
            SELECT coalesce(jsonb_agg(
                jsonb_build_array(t.course_id, t.class_id, t.user_id, t.opens_at, t.due_at, t.closes_at) ORDER BY t.id
            ), '[]')
            FROM tasking_plans t WHERE t.plan_id = plans.id
        )
    ) WHERE live_generation > 0
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE plans DROP COLUMN live_content, DROP CONSTRAINT ck_plans_draft_was_never_published")
