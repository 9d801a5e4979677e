"""The tables of accounts."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE users (
            id uuid CONSTRAINT pk_users PRIMARY KEY DEFAULT uuidv7(),
            name text NOT NULL,
            email text,
            subject text,
            roles text[] NOT NULL,
            is_active boolean NOT NULL DEFAULT true,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT uq_users_email UNIQUE (email),
            CONSTRAINT uq_users_subject UNIQUE (subject),
            CONSTRAINT ck_users_email_lower CHECK (email = lower(email)),
            CONSTRAINT ck_users_roles CHECK (
                roles <@ ARRAY['ADMIN', 'EDITOR', 'MEMBER', 'SERVICE']::text[] AND cardinality(roles) > 0
            )
        )
    """)
    op.execute("CREATE INDEX ix_users_by_name ON users (lower(name), id)")
    op.execute("""
        CREATE TABLE teams (
            id uuid CONSTRAINT pk_teams PRIMARY KEY DEFAULT uuidv7(),
            name text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("CREATE INDEX ix_teams_by_name ON teams (lower(name), id)")
    op.execute("""
        CREATE TABLE team_members (
            team_id uuid NOT NULL,
            user_id uuid NOT NULL,
            is_admin boolean NOT NULL DEFAULT false,
            created_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_team_members PRIMARY KEY (team_id, user_id),
            CONSTRAINT fk_team_members_team_id FOREIGN KEY (team_id) REFERENCES teams (id) ON DELETE CASCADE,
            CONSTRAINT fk_team_members_user_id FOREIGN KEY (user_id) REFERENCES users (id)
        )
    """)
    op.execute("CREATE INDEX ix_team_members_user_id ON team_members (user_id)")
    op.execute("""
        CREATE TABLE api_tokens (
            id uuid CONSTRAINT pk_api_tokens PRIMARY KEY DEFAULT uuidv7(),
            user_id uuid NOT NULL,
            name text NOT NULL,
            prefix text NOT NULL,
            token_hash bytea NOT NULL,
            roles text[] NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            created_by uuid,
            last_used_at timestamptz,
            expires_at timestamptz,
            revoked_at timestamptz,
            CONSTRAINT uq_api_tokens_token_hash UNIQUE (token_hash),
            CONSTRAINT fk_api_tokens_user_id FOREIGN KEY (user_id) REFERENCES users (id),
            CONSTRAINT fk_api_tokens_created_by FOREIGN KEY (created_by) REFERENCES users (id),
            CONSTRAINT ck_api_tokens_hash_is_sha256 CHECK (octet_length(token_hash) = 32),
            CONSTRAINT ck_api_tokens_roles CHECK (
                roles <@ ARRAY['ADMIN', 'EDITOR', 'MEMBER', 'SERVICE']::text[] AND cardinality(roles) > 0
            )
        )
    """)
    op.execute("CREATE INDEX ix_api_tokens_user_id ON api_tokens (user_id)")


def downgrade() -> None:
    op.execute("DROP TABLE api_tokens, team_members, teams, users")
