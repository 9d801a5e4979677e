"""The statements of publishing: set-based, so that a learner costs a row and never a round trip."""

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB

# Who gets the plan, and when: a learner's own dates win over those of their class, and these over the course's.
# Of two classes of one rank the later due date wins.
_REACHED = """
    SELECT e.user_id, p.opens_at, p.due_at, p.closes_at, 0 AS rank
    FROM tasking_plans p
    JOIN enrollments e ON e.user_id = p.user_id AND e.status = 'ACTIVE'
    JOIN classes k ON k.id = e.class_id AND k.course_id = :course_id AND NOT k.is_archived
    WHERE p.plan_id = :plan_id {within}
    UNION ALL
    SELECT e.user_id, p.opens_at, p.due_at, p.closes_at, 1
    FROM tasking_plans p
    JOIN classes k ON k.id = p.class_id AND k.course_id = :course_id AND NOT k.is_archived
    JOIN enrollments e ON e.class_id = k.id AND e.status = 'ACTIVE'
    WHERE p.plan_id = :plan_id {within}
    UNION ALL
    SELECT e.user_id, p.opens_at, p.due_at, p.closes_at, 2
    FROM tasking_plans p
    JOIN classes k ON k.course_id = p.course_id AND NOT k.is_archived
    JOIN enrollments e ON e.class_id = k.id AND e.status = 'ACTIVE'
    WHERE p.plan_id = :plan_id {within}
"""
_EVERYBODY = _REACHED.format(within="")
_WITHIN = _REACHED.format(
    within="AND (CAST(:after AS uuid) IS NULL OR e.user_id > :after)"
    " AND (CAST(:until AS uuid) IS NULL OR e.user_id <= :until)"
)
_AFTER = _REACHED.format(within="AND (CAST(:after AS uuid) IS NULL OR e.user_id > :after)")
_AMONG = _REACHED.format(within="AND e.user_id = ANY(:learners)")
_OF_FIRST = _REACHED.format(within="AND e.user_id IN (SELECT assignee_user_id FROM first)")
_LEARNERS = f"""
    SELECT DISTINCT reached.user_id FROM ({_EVERYBODY}) reached JOIN users u ON u.id = reached.user_id AND u.is_active
"""
# The range is said of the users too: Postgres does not infer it through the join, and would read all of them.
_DATED = f"""
    SELECT DISTINCT ON (reached.user_id) reached.*
    FROM ({_WITHIN}) reached JOIN users u ON u.id = reached.user_id AND u.is_active
        AND (CAST(:after AS uuid) IS NULL OR u.id > :after) AND (CAST(:until AS uuid) IS NULL OR u.id <= :until)
    ORDER BY reached.user_id, reached.rank, reached.due_at DESC
"""

_DATED_AMONG = f"""
    SELECT DISTINCT ON (reached.user_id) reached.*
    FROM ({_AMONG}) reached JOIN users u ON u.id = reached.user_id AND u.is_active
    ORDER BY reached.user_id, reached.rank, reached.due_at DESC
"""

READ_PLAN = text("SELECT * FROM plans WHERE id = :plan_id").columns(settings=JSONB, live_content=JSONB)
SHARE_PLAN = text("SELECT FROM plans WHERE id = :plan_id FOR SHARE")
# The strongest lock: nobody who works on a task of this plan (they share its key) does so while it goes live.
LOCK_PLAN = text(
    """
    SELECT p.*, (SELECT min(t.opens_at) FROM tasking_plans t WHERE t.plan_id = p.id) AS first_opens_at
    FROM plans p WHERE p.id = :plan_id FOR UPDATE OF p
    """
)

# In one pass: how many they are, how many make a batch, and the last learner of each batch but the last.
AUDIENCE = text(
    f"""
    WITH numbered AS MATERIALIZED (
        SELECT user_id, row_number() OVER (ORDER BY user_id) AS place FROM ({_LEARNERS}) learners
    ), sized AS (
        SELECT count(*) AS learners, least(:most, greatest(:least, (count(*) + :batches - 1) / :batches)) AS size
        FROM numbered
    )
    SELECT learners, size, ARRAY(
        SELECT user_id FROM numbered WHERE place % size = 0 AND place < learners ORDER BY place
    ) AS ends
    FROM sized
    """
)
NAME_AUDIENCE = text(
    f"""
    SELECT u.id, u.name FROM ({_LEARNERS}) learners JOIN users u ON u.id = learners.user_id
    ORDER BY u.name LIMIT :size
    """
)

ASSESSMENTS = text(
    """
    SELECT i.id, i.title FROM course_items i
    JOIN course_lessons l ON l.id = i.lesson_id JOIN course_units u ON u.id = l.unit_id
    WHERE i.course_id = :course_id AND i.format = 'ASSESSMENT' AND i.deleted_at IS NULL
    ORDER BY u.position, l.position, i.position LIMIT 500
    """
)
DYNAMIC_POSITIONS = text(
    """
    SELECT position FROM task_step_templates
    WHERE plan_id = :plan_id AND generation = :generation AND is_dynamic ORDER BY position
    """
)
# What an earlier job left under a generation that never went live: nobody has seen it.
CLEAR_TASKS = text(
    """
    DELETE FROM tasks t USING plans p
    WHERE p.id = :plan_id AND t.plan_id = p.id AND t.generation = :generation AND t.status <> 'CANCELLED'
        AND t.generation <> p.live_generation AND NOT t.is_touched
    """
)
CLEAR_STEPS = text(
    """
    DELETE FROM task_step_templates s USING plans p
    WHERE p.id = :plan_id AND s.plan_id = p.id AND s.generation = :generation AND s.generation <> p.live_generation
    """
)
HAS_STEPS = text(
    "SELECT EXISTS (SELECT FROM task_step_templates WHERE plan_id = :plan_id AND generation = :generation)"
)
WRITE_STEP = """
    INSERT INTO task_step_templates (plan_id, generation, position, key, kind, title, content, is_dynamic)
    VALUES (:plan_id, :generation, :position, :key, :kind, :title, :content, :is_dynamic)
"""

# Whoever's task of this plan somebody has cancelled or given to another person gets no new one because its title was
# corrected. What the plan itself has cancelled, when it no longer reached them, is no such decision.
_GONE = """
    SELECT gone.assignee_user_id FROM tasks gone JOIN plans p
        ON p.id = gone.plan_id AND p.live_generation = gone.generation
    WHERE gone.plan_id = :plan_id AND gone.status = 'CANCELLED' AND gone.cancelled_by_id IS NOT NULL
        AND gone.assignee_user_id IS NOT NULL
"""
_MAKE = f"""
    INSERT INTO tasks (
        type_name, title, assignee_user_id, assigned_by_id, created_at, assigned_at,
        plan_id, generation, opens_at, due_at, closes_at, selection
    )
    SELECT
        CAST(:type_name AS text), CAST(:title AS text), dated.user_id, CAST(:actor_id AS uuid),
        CAST(:now AS timestamptz), CAST(:now AS timestamptz),
        CAST(:plan_id AS uuid), CAST(:generation AS integer), dated.opens_at, dated.due_at, dated.closes_at, {{picked}}
    FROM ({{dated}}) dated {{lateral}}
    WHERE dated.user_id NOT IN ({_GONE})
"""
# Where nothing can be there yet, asking the index for each row first would only cost time.
IF_ABSENT = """
    ON CONFLICT (plan_id, generation, assignee_user_id) WHERE plan_id IS NOT NULL AND status <> 'CANCELLED' DO NOTHING
"""
# A hash of learner and position decides, so that the same learner gets the same exercises whenever this is run again.
_CHOSEN = """
    SELECT array_agg(position ORDER BY position) AS positions FROM (
        SELECT position FROM unnest(CAST(:picked AS smallint[])) AS pool (position)
        ORDER BY hashtextextended({learner}::text || ':' || pool.position, 0) LIMIT :picks
    ) best
"""


def _making(dated: str, *, is_picked: bool) -> str:
    lateral = f"CROSS JOIN LATERAL ({_CHOSEN.format(learner='dated.user_id')}) chosen" if is_picked else ""
    return _MAKE.format(dated=dated, picked="chosen.positions" if is_picked else "NULL", lateral=lateral)


# By whether each learner's exercises are picked, and whether tasks of the generation may be there already.
MAKE_TASKS = {
    (is_picked, may_be_begun): text(_making(_DATED, is_picked=is_picked) + (IF_ABSENT if may_be_begun else ""))
    for is_picked in (False, True)
    for may_be_begun in (False, True)
}
# Of learners by name: those who joined a class meanwhile, or have no task yet.
MAKE_AMONG = {is_picked: text(_making(_DATED_AMONG, is_picked=is_picked) + IF_ABSENT) for is_picked in (False, True)}
DELETE_OF_LEFT = text(
    f"""
    DELETE FROM tasks t WHERE t.plan_id = :plan_id AND t.generation = :generation AND NOT t.is_touched
        AND t.status <> 'CANCELLED' AND t.assignee_user_id = ANY(:learners)
        AND t.assignee_user_id NOT IN (SELECT dated.user_id FROM ({_DATED_AMONG}) dated)
    """
)
TAKE_ROSTER_CHANGES = text("DELETE FROM plan_roster_changes WHERE plan_id = :plan_id RETURNING user_id")

# Whom a publication that keeps the tasks has something for: who has none, or one with another title or earlier dates.
# One look at everybody, for nothing says who is new: people join, come back, and classes change their course. It blocks
# nobody, and what is written is only theirs. Whoever has dates of their own before their class's is looked at each
# time, and left as they are.
LOOK = text(
    f"""
    WITH looked AS MATERIALIZED (
        SELECT reached.user_id, bool_or(
            t.id IS NULL OR t.title <> CAST(:title AS text)
            OR t.due_at < reached.due_at OR t.closes_at < reached.closes_at
        ) AS is_wanting
        FROM ({_AFTER}) reached
        JOIN users u ON u.id = reached.user_id AND u.is_active
        LEFT JOIN tasks t ON t.plan_id = :plan_id AND t.generation = :generation AND t.status <> 'CANCELLED'
            AND t.assignee_user_id = reached.user_id
        GROUP BY reached.user_id
    ), wanting AS MATERIALIZED (
        SELECT user_id FROM looked WHERE is_wanting AND user_id NOT IN ({_GONE})
    )
    SELECT (SELECT count(*) FROM looked) AS reached, (SELECT count(*) FROM wanting) AS wanting,
        ARRAY(SELECT user_id FROM wanting ORDER BY user_id LIMIT :size) AS learners
    """
)

# What learners have opened never closes earlier and is never taken from them: dates only move to later.
REFRESH_TASKS = text(
    f"""
    UPDATE tasks t SET
        title = :title, due_at = greatest(t.due_at, dated.due_at), closes_at = greatest(t.closes_at, dated.closes_at),
        version = t.version + 1
    FROM ({_DATED_AMONG}) dated
    WHERE t.plan_id = :plan_id AND t.generation = :generation AND t.assignee_user_id = dated.user_id
        AND t.status <> 'CANCELLED'
        AND (t.title <> CAST(:title AS text) OR t.due_at < dated.due_at OR t.closes_at < dated.closes_at)
    """
)

# What has opened stays open, and only ever gets more time: whoever has begun keeps what they see.
_DATES_OF_KEPT = """
    opens_at = CASE WHEN t.opens_at <= :now THEN t.opens_at ELSE {to}.opens_at END,
    due_at = CASE WHEN t.opens_at <= :now THEN greatest(t.due_at, {to}.due_at) ELSE {to}.due_at END,
    closes_at = CASE WHEN t.opens_at <= :now THEN greatest(t.closes_at, {to}.closes_at) ELSE {to}.closes_at END
"""
# Of a learner whose task was touched the untouched new one goes, and the old one takes its place with its dates.
CARRY_TOUCHED = text(
    f"""
    WITH replaced AS (
        DELETE FROM tasks made USING tasks kept
        WHERE made.plan_id = :plan_id AND made.generation = :generation AND NOT made.is_touched
            AND made.status <> 'CANCELLED'
            AND kept.plan_id = :plan_id AND kept.generation = :live AND kept.is_touched
            AND kept.status <> 'CANCELLED' AND kept.assignee_user_id = made.assignee_user_id
        RETURNING kept.id, made.opens_at, made.due_at, made.closes_at, made.selection
    )
    UPDATE tasks t SET
        generation = :generation, title = :title, {_DATES_OF_KEPT.format(to="replaced")},
        selection = replaced.selection, version = t.version + 1
    FROM replaced WHERE t.id = replaced.id
    """
)
# One that a person has given to somebody else is theirs, whoever the plan reaches, with the dates of the learner who
# had it first; where the plan no longer reaches that one, with those that it has.
KEEP_REASSIGNED = text(
    f"""
    WITH RECURSIVE given AS (
        SELECT t.id, t.replaces_id FROM tasks t
        WHERE t.plan_id = :plan_id AND t.generation = :live AND t.is_touched AND t.replaces_id IS NOT NULL
            AND t.status <> 'CANCELLED'
        UNION ALL
        SELECT given.id, older.replaces_id FROM given JOIN tasks older ON older.id = given.replaces_id
        WHERE older.replaces_id IS NOT NULL
    ), first AS MATERIALIZED (
        SELECT given.id, older.assignee_user_id FROM given
        JOIN tasks older ON older.id = given.replaces_id AND older.replaces_id IS NULL
    ), dated AS (
        SELECT DISTINCT ON (reached.user_id) reached.* FROM ({_OF_FIRST}) reached
        ORDER BY reached.user_id, reached.rank, reached.due_at DESC
    ), kept AS (
        SELECT t.id, coalesce(dated.opens_at, t.opens_at) AS opens_at, coalesce(dated.due_at, t.due_at) AS due_at,
            coalesce(dated.closes_at, t.closes_at) AS closes_at
        FROM first JOIN tasks t ON t.id = first.id LEFT JOIN dated ON dated.user_id = first.assignee_user_id
    )
    UPDATE tasks t SET
        generation = :generation, title = :title, {_DATES_OF_KEPT.format(to="kept")}, version = t.version + 1,
        selection = ({_CHOSEN.format(learner="t.assignee_user_id")})
    FROM kept WHERE t.id = kept.id
    """
)
# One that was touched and whose learner is no longer reached stays, cancelled, where it can be seen. Those that were on
# hold are returned: what is open below them ends with them.
CANCEL_UNTARGETED = text(
    """
    WITH ended AS (
        UPDATE tasks t SET
            generation = :generation, version = t.version + 1,
            closed_at = CASE WHEN t.status IN ('COMPLETED', 'CANCELLED') THEN t.closed_at ELSE :now END,
            status = CASE WHEN t.status = 'COMPLETED' THEN t.status ELSE 'CANCELLED' END
        FROM tasks before
        WHERE t.plan_id = :plan_id AND t.generation = :live AND t.is_touched AND before.id = t.id
        RETURNING t.id, before.status AS from_status, t.status AS to_status
    ), told AS (
        INSERT INTO task_transitions (task_id, at, actor_id, from_status, to_status, reason)
        SELECT id, :now, NULL, from_status, to_status, CAST(:reason AS text)
        FROM ended WHERE from_status <> to_status
    )
    SELECT id FROM ended WHERE from_status = 'ON_HOLD'
    """
)

COUNT_LIVE = text(
    """
    SELECT count(*) AS tasks, min(opens_at) AS opens_at FROM tasks
    WHERE plan_id = :plan_id AND generation = :generation AND status <> 'CANCELLED'
    """
)
GO_LIVE = text(
    """
    UPDATE plans SET
        live_generation = :generation, live_opens_at = :opens_at, state = :state, state_before_publish = NULL,
        is_replacing = false, live_content = jsonb_build_object('settings', settings, 'taskings', (
            SELECT coalesce(jsonb_agg(
                jsonb_build_array(t.course_id, t.class_id, t.user_id, t.opens_at, t.due_at, t.closes_at) ORDER BY t.id
            ), '[]')
            FROM tasking_plans t WHERE t.plan_id = plans.id
        )),
        first_published_at = coalesce(first_published_at, :now),
        -- Clocks may be put back, or another machine's be behind.
        last_published_at = greatest(first_published_at, last_published_at, :now)
    WHERE id = :plan_id
    """
)

# Generations that are over: older than the live one, or never gone live while nothing is being published. Untouched
# tasks are never cancelled; saying so lets the index of a generation's tasks answer.
_OVER = """
    {row}.plan_id = :plan_id AND {row}.generation <> p.live_generation
        AND ({row}.generation < p.live_generation OR {row}.generation < p.publish_generation OR p.state <> 'PUBLISHING')
"""
SWEEP_TASKS = text(
    f"""
    DELETE FROM tasks WHERE id IN (
        SELECT t.id FROM tasks t JOIN plans p ON p.id = t.plan_id
        WHERE {_OVER.format(row="t")} AND t.status <> 'CANCELLED' AND NOT t.is_touched LIMIT :size
    )
    """
)
SWEEP_STEPS = text(
    f"""
    DELETE FROM task_step_templates s USING plans p
    WHERE p.id = s.plan_id AND {_OVER.format(row="s")}
        AND NOT EXISTS (SELECT FROM task_step_completions c WHERE c.template_id = s.id)
    """
)
