"""A draft was never published: what `deletePlan` may delete is held by the table too."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "ALTER TABLE plans ADD CONSTRAINT ck_plans_draft_was_never_published"
        " CHECK (state <> 'DRAFT' OR first_published_at IS NULL)"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE plans DROP CONSTRAINT ck_plans_draft_was_never_published")
