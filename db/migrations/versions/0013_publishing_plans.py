"""The plans of a course that are being published are looked up wherever somebody joins or leaves one of its classes."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX ix_plans_publishing ON plans (course_id) WHERE state = 'PUBLISHING'")


def downgrade() -> None:
    op.execute("DROP INDEX ix_plans_publishing")
