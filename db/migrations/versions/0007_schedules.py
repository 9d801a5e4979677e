"""Schedules and retention: who leads, and partitions that are made without anybody waiting for it."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE leaders (
            role text CONSTRAINT pk_leaders PRIMARY KEY,
            epoch bigint NOT NULL,
            worker_id uuid NOT NULL,
            worker_name text NOT NULL,
            since timestamptz NOT NULL
        )
    """)
    # Making a partition locks the whole table for a moment, and waiting for that lock keeps everybody else waiting too:
    # so it waits briefly, gives up, and is called again. A week with rows in the default partition keeps them there.
    op.execute("""
        CREATE OR REPLACE FUNCTION prepare_job_event_partitions(first timestamptz, weeks integer) RETURNS integer
        LANGUAGE plpgsql SET lock_timeout = '100ms' AS $$
        DECLARE
            made integer := 0;
            starts timestamptz;
            part text;
            low uuid;
            high uuid;
            is_taken boolean;
        BEGIN
            FOR i IN 0 .. weeks - 1 LOOP
                starts := date_trunc('week', first, 'UTC') + make_interval(days => 7 * i);
                part := 'job_events_' || to_char(starts AT TIME ZONE 'UTC', 'IYYY"w"IW');
                CONTINUE WHEN to_regclass('partitions.' || part) IS NOT NULL;
                -- A version 7 uuid begins with the milliseconds of its making.
                low := rpad(lpad(to_hex((extract(epoch FROM starts) * 1000)::bigint), 12, '0'), 32, '0')::uuid;
                high := rpad(lpad(to_hex((extract(epoch FROM starts) * 1000 + 604800000)::bigint), 12, '0'), 32, '0')
                    ::uuid;
                SELECT EXISTS (SELECT FROM partitions.job_events_default WHERE job_id >= low AND job_id < high)
                    INTO is_taken;
                CONTINUE WHEN is_taken;
                BEGIN
                    EXECUTE format(
                        'CREATE TABLE partitions.%I PARTITION OF job_events FOR VALUES FROM (%L) TO (%L)',
                        part, low, high
                    );
                    made := made + 1;
                EXCEPTION
                    -- Such rows came meanwhile, or somebody else makes it now, or the table is busy.
                    WHEN check_violation OR duplicate_table OR lock_not_available THEN NULL;
                END;
            END LOOP;
            RETURN made;
        END
        $$
    """)


def downgrade() -> None:
    # The function stays as it is: it does what the older one did.
    op.execute("DROP TABLE leaders")
