"""The tables of ledger."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _jobs()
    _history()
    _fleet()
    op.execute("""
        CREATE TABLE idempotency_keys (
            caller_id uuid NOT NULL,
            mutation text NOT NULL,
            key text NOT NULL,
            request_hash bytea NOT NULL,
            outcome jsonb,
            created_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_idempotency_keys PRIMARY KEY (caller_id, mutation, key)
        )
    """)
    op.execute("CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at)")


def _jobs() -> None:
    op.execute("""
        CREATE TABLE jobs (
            id uuid CONSTRAINT pk_jobs PRIMARY KEY DEFAULT uuidv7(),
            kind text NOT NULL,
            queue text NOT NULL,
            state text NOT NULL,
            priority smallint NOT NULL,
            args jsonb NOT NULL,
            args_version integer NOT NULL,
            result jsonb,
            error jsonb,
            fence bigint NOT NULL DEFAULT 0,
            attempt integer NOT NULL DEFAULT 0,
            failures integer NOT NULL DEFAULT 0,
            crash_count integer NOT NULL DEFAULT 0,
            interruptions integer NOT NULL DEFAULT 0,
            max_attempts integer NOT NULL,
            timeout_seconds integer NOT NULL,
            worker_id uuid,
            enqueued_at timestamptz NOT NULL,
            scheduled_at timestamptz NOT NULL,
            dispatched_at timestamptz,
            started_at timestamptz,
            timeout_at timestamptz,
            finished_at timestamptz,
            cancel_requested_at timestamptz,
            cancel_requested_by uuid,
            cancel_reason text,
            progress smallint NOT NULL DEFAULT 0,
            step text,
            done integer,
            total integer,
            last_seq integer NOT NULL,
            unique_key text,
            concurrency_key text,
            subject_type text,
            subject_id uuid,
            subject_label text,
            actor_id uuid,
            retry_of uuid,
            trace_context text,
            CONSTRAINT ck_jobs_state CHECK (state IN (
                'scheduled', 'queued', 'dispatched', 'running', 'completed', 'failed', 'quarantined', 'cancelled'
            )),
            CONSTRAINT ck_jobs_dispatched_at CHECK ((state IN ('dispatched')) = (dispatched_at IS NOT NULL)),
            CONSTRAINT ck_jobs_worker_id CHECK ((state IN ('running')) = (worker_id IS NOT NULL)),
            CONSTRAINT ck_jobs_timeout_at CHECK ((state IN ('running')) = (timeout_at IS NOT NULL)),
            CONSTRAINT ck_jobs_finished_at CHECK (
                (state IN ('completed', 'failed', 'quarantined', 'cancelled')) = (finished_at IS NOT NULL)
            ),
            CONSTRAINT ck_jobs_error CHECK ((state IN ('failed', 'quarantined')) = (error IS NOT NULL)),
            CONSTRAINT ck_jobs_started_at CHECK (state NOT IN ('running', 'completed') OR started_at IS NOT NULL),
            CONSTRAINT ck_jobs_result CHECK (state = 'completed' OR result IS NULL),
            CONSTRAINT ck_jobs_progress CHECK (
                (state = 'completed') = (progress = 100) AND progress BETWEEN 0 AND 100
            ),
            CONSTRAINT ck_jobs_cancel CHECK (
                cancel_requested_at IS NOT NULL OR (cancel_reason IS NULL AND cancel_requested_by IS NULL)
            ),
            CONSTRAINT ck_jobs_subject CHECK ((subject_type IS NULL) = (subject_id IS NULL)),
            CONSTRAINT ck_jobs_priority CHECK (priority BETWEEN 0 AND 9),
            CONSTRAINT ck_jobs_limits CHECK (max_attempts > 0 AND timeout_seconds > 0),
            CONSTRAINT ck_jobs_counts CHECK (attempt >= failures + interruptions)
        ) WITH (fillfactor = 70)
    """)
    op.execute("CREATE INDEX ix_jobs_due ON jobs (priority, scheduled_at, id) WHERE state IN ('queued')")
    op.execute("CREATE INDEX ix_jobs_scheduled ON jobs (scheduled_at) WHERE state IN ('scheduled')")
    op.execute("CREATE INDEX ix_jobs_dispatched ON jobs (dispatched_at) WHERE state IN ('dispatched')")
    op.execute("CREATE INDEX ix_jobs_running ON jobs (worker_id) WHERE state IN ('running')")
    op.execute("""
        CREATE UNIQUE INDEX uq_jobs_unique_key ON jobs (kind, unique_key)
        WHERE unique_key IS NOT NULL AND state IN ('scheduled', 'queued', 'dispatched', 'running')
    """)
    op.execute("""
        CREATE UNIQUE INDEX uq_jobs_live_retry ON jobs (retry_of)
        WHERE state IN ('scheduled', 'queued', 'dispatched', 'running')
    """)
    op.execute("CREATE INDEX ix_jobs_retry_of ON jobs (retry_of, id) WHERE retry_of IS NOT NULL")
    op.execute("""
        CREATE INDEX ix_jobs_concurrency_key ON jobs (concurrency_key)
        WHERE concurrency_key IS NOT NULL AND state IN ('dispatched', 'running')
    """)
    op.execute("CREATE INDEX ix_jobs_subject_id ON jobs (subject_id, id)")
    op.execute("CREATE INDEX ix_jobs_actor_id ON jobs (actor_id, id)")
    op.execute("CREATE INDEX ix_jobs_finished ON jobs (finished_at, id) WHERE finished_at IS NOT NULL")


def _history() -> None:
    op.execute("""
        CREATE TABLE job_events (
            job_id uuid NOT NULL,
            seq integer NOT NULL,
            at timestamptz NOT NULL,
            type text NOT NULL,
            state text NOT NULL,
            progress smallint NOT NULL,
            step text,
            done integer,
            total integer,
            attempt integer NOT NULL,
            level text,
            message text,
            data jsonb,
            CONSTRAINT pk_job_events PRIMARY KEY (job_id, seq),
            CONSTRAINT ck_job_events_type CHECK (type IN ('PROGRESS', 'LOG', 'STATUS')),
            CONSTRAINT ck_job_events_state CHECK (state IN (
                'scheduled', 'queued', 'dispatched', 'running', 'completed', 'failed', 'quarantined', 'cancelled'
            )),
            CONSTRAINT ck_job_events_level CHECK ((type = 'LOG') = (level IS NOT NULL)),
            CONSTRAINT ck_job_events_level_known CHECK (level IN ('DEBUG', 'INFO', 'WARNING', 'ERROR'))
        ) PARTITION BY RANGE (job_id)
    """)
    # A week each, made ahead, in a schema of their own so that nobody takes them for tables. The default one takes
    # what falls outside, which happens only where no worker has run for weeks.
    op.execute("CREATE SCHEMA partitions")
    op.execute("CREATE TABLE partitions.job_events_default PARTITION OF job_events DEFAULT")
    op.execute("""
        CREATE FUNCTION prepare_job_event_partitions(first timestamptz, weeks integer) RETURNS integer
        LANGUAGE plpgsql AS $$
        DECLARE
            made integer := 0;
            starts timestamptz;
            part text;
        BEGIN
            FOR i IN 0 .. weeks - 1 LOOP
                starts := date_trunc('week', first, 'UTC') + make_interval(days => 7 * i);
                part := 'job_events_' || to_char(starts AT TIME ZONE 'UTC', 'IYYY"w"IW');
                CONTINUE WHEN to_regclass('partitions.' || part) IS NOT NULL;
                BEGIN
                    -- A version 7 uuid begins with the milliseconds of its making.
                    EXECUTE format(
                        'CREATE TABLE partitions.%I PARTITION OF job_events FOR VALUES FROM (%L) TO (%L)', part,
                        rpad(lpad(to_hex((extract(epoch FROM starts) * 1000)::bigint), 12, '0'), 32, '0')::uuid,
                        rpad(lpad(to_hex((extract(epoch FROM starts) * 1000 + 604800000)::bigint), 12, '0'), 32, '0')
                            ::uuid
                    );
                    made := made + 1;
                EXCEPTION
                    -- Rows of that week are in the default partition already, or somebody else makes it now.
                    WHEN check_violation OR duplicate_table THEN NULL;
                END;
            END LOOP;
            RETURN made;
        END
        $$
    """)
    op.execute("SELECT prepare_job_event_partitions(now(), 4)")
    op.execute("""
        CREATE TABLE job_attempts (
            job_id uuid NOT NULL,
            number integer NOT NULL,
            fence bigint NOT NULL,
            worker_id uuid NOT NULL,
            worker_name text NOT NULL,
            started_at timestamptz NOT NULL,
            finished_at timestamptz,
            outcome text,
            error jsonb,
            CONSTRAINT pk_job_attempts PRIMARY KEY (job_id, number),
            CONSTRAINT ck_job_attempts_outcome CHECK (outcome IN (
                'COMPLETED', 'RETRY', 'SNOOZED', 'CANCELLED', 'FAILED', 'LOST', 'INTERRUPTED'
            )),
            CONSTRAINT ck_job_attempts_finished_at CHECK ((outcome IS NULL) = (finished_at IS NULL))
        ) WITH (fillfactor = 80)
    """)


def _fleet() -> None:
    op.execute("""
        CREATE TABLE workers (
            id uuid CONSTRAINT pk_workers PRIMARY KEY DEFAULT uuidv7(),
            name text NOT NULL,
            queues text[] NOT NULL,
            kinds text[] NOT NULL,
            slots integer NOT NULL,
            started_at timestamptz NOT NULL,
            seen_at timestamptz NOT NULL,
            is_draining boolean NOT NULL DEFAULT false,
            CONSTRAINT ck_workers_slots CHECK (slots > 0)
        ) WITH (fillfactor = 50)
    """)
    op.execute("""
        CREATE TABLE queues (
            name text CONSTRAINT pk_queues PRIMARY KEY,
            max_running integer,
            max_running_per_key integer,
            paused_at timestamptz,
            paused_by uuid,
            pause_reason text,
            CONSTRAINT ck_queues_max_running CHECK (max_running > 0),
            CONSTRAINT ck_queues_max_running_per_key CHECK (max_running_per_key > 0),
            CONSTRAINT ck_queues_paused CHECK (
                paused_at IS NOT NULL OR (paused_by IS NULL AND pause_reason IS NULL)
            )
        )
    """)
    op.execute("""
        CREATE TABLE schedules (
            name text CONSTRAINT pk_schedules PRIMARY KEY,
            kind text NOT NULL,
            args jsonb NOT NULL,
            rule text NOT NULL,
            time_zone text NOT NULL DEFAULT 'UTC',
            last_tick_at timestamptz,
            next_tick_at timestamptz
        )
    """)
    op.execute("CREATE INDEX ix_schedules_due ON schedules (next_tick_at) WHERE next_tick_at IS NOT NULL")
    op.execute("""
        CREATE TABLE schedule_ticks (
            schedule_name text NOT NULL,
            tick_at timestamptz NOT NULL,
            job_id uuid NOT NULL,
            CONSTRAINT pk_schedule_ticks PRIMARY KEY (schedule_name, tick_at)
        )
    """)


def downgrade() -> None:
    op.execute(
        "DROP TABLE idempotency_keys, schedule_ticks, schedules, queues, workers, job_attempts, job_events, jobs"
    )
    op.execute("DROP FUNCTION prepare_job_event_partitions")
    op.execute("DROP SCHEMA partitions CASCADE")
