"""The statements of joining and leaving: of one learner and all plans, or of many learners at once."""

from sqlalchemy import text

from db.plans.commands.statements import IF_ABSENT

# What was saved and has not gone live is not what learners have: the tasking plans that hold are those of their tasks.
# Also while it is being published: that may yet be cancelled, and looks itself at who came and went meanwhile.
_IS_NEWER = "(p.is_replacing AND p.live_generation < p.publish_generation AND p.live_content IS NOT NULL)"
_HOLDING = f"""
    SELECT s.course_id, s.class_id, s.user_id, s.opens_at, s.due_at, s.closes_at
    FROM tasking_plans s WHERE s.plan_id = p.id AND NOT {_IS_NEWER}
    UNION ALL
    SELECT CAST(live ->> 0 AS uuid), CAST(live ->> 1 AS uuid), CAST(live ->> 2 AS uuid),
        CAST(live ->> 3 AS timestamptz), CAST(live ->> 4 AS timestamptz), CAST(live ->> 5 AS timestamptz)
    FROM jsonb_array_elements(p.live_content -> 'taskings') live WHERE {_IS_NEWER}
"""
# Whom a tasking plan reaches, said of one learner and one plan.
_REACHES = f"""
    SELECT g.opens_at, g.due_at, g.closes_at FROM ({_HOLDING}) g
    JOIN enrollments e ON e.user_id = {{learner}} AND e.status = 'ACTIVE'
    JOIN classes k ON k.id = e.class_id AND k.course_id = p.course_id AND NOT k.is_archived
    WHERE (g.user_id = e.user_id OR g.class_id = k.id OR g.course_id = k.course_id)
"""
# Of the courses that a change concerns; null: of all.
_CONCERNED = "(CAST(:course_ids AS uuid[]) IS NULL OR {plan}.course_id = ANY(:course_ids))"
# The task is no longer the plan's to replace: somebody has looked at it and said that it is over.
CANCEL_UNTOUCHED = text(
    f"""
    WITH ended AS (
        UPDATE tasks t SET status = 'CANCELLED', closed_at = :now, is_touched = true, version = t.version + 1
        FROM plans p
        WHERE t.assignee_user_id = ANY(:learners) AND t.status = 'ASSIGNED' AND t.type_name <> 'timed_hold'
            AND NOT t.is_touched AND p.id = t.plan_id AND p.live_generation = t.generation
            AND (CAST(:plan_id AS uuid) IS NULL OR p.id = :plan_id) AND {_CONCERNED.format(plan="p")}
            AND NOT EXISTS ({_REACHES.format(learner="t.assignee_user_id")})
        RETURNING t.id, t.assignee_user_id
    ), told AS (
        INSERT INTO task_transitions (task_id, at, actor_id, from_status, to_status, reason)
        SELECT id, :now, NULL, 'ASSIGNED', 'CANCELLED', 'The plan no longer reaches this learner.' FROM ended
    )
    SELECT id, assignee_user_id FROM ended
    """
)
# What takes tasks back and what makes them take turns, learner by learner. Else who comes back while their tasks are
# being taken back would be seen to have them still, and be given none. Before anything else is read or locked: whoever
# has the learner sees all that the one before has done, and the classes as they are now. NO KEY: whoever only points to
# a learner, as a publication does with each task, need not wait.
LOCK_LEARNERS = text("SELECT FROM users WHERE id = ANY(:learners) ORDER BY id FOR NO KEY UPDATE")
# The plans of which they may have something: seen already, or being made. Their keys are looked up once, as a list: a
# condition on each plan would read the tasks again for each, where they are too many to be hashed.
LOCK_PLANS_OF_LEARNERS = text(
    f"""
    SELECT p.id FROM plans p
    WHERE {_CONCERNED.format(plan="p")} AND p.id = ANY(ARRAY(
        SELECT published.id FROM plans published
        WHERE published.state = 'PUBLISHING' AND {_CONCERNED.format(plan="published")}
        UNION
        SELECT t.plan_id FROM tasks t WHERE t.assignee_user_id = ANY(:learners)
            AND t.status IN ('ASSIGNED', 'IN_PROGRESS') AND t.type_name <> 'timed_hold'
    ))
    ORDER BY p.id FOR KEY SHARE
    """
)
BEFORE_WAITING = text("SAVEPOINT before_waiting")
LET_GO = text("ROLLBACK TO SAVEPOINT before_waiting")
# A publication that keeps the tasks makes them where they are seen at once, each batch sharing the plan. It may never
# go live, and then nobody would look again. Those that replace the tasks go live or leave nothing.
_KEEPING = "p.state = 'PUBLISHING' AND NOT p.is_replacing"
KEEPING_PUBLICATIONS = text(
    f"SELECT p.id FROM plans p WHERE {_KEEPING} AND {_CONCERNED.format(plan='p')} ORDER BY p.id"
)
WAIT_FOR_BATCH = text(f"SELECT FROM plans p WHERE p.id = :plan_id AND {_KEEPING} FOR NO KEY UPDATE")
NOTE_CHANGE = text(
    f"""
    INSERT INTO plan_roster_changes (plan_id, user_id)
    SELECT p.id, changed.user_id FROM plans p CROSS JOIN unnest(CAST(:learners AS uuid[])) AS changed (user_id)
    WHERE p.state = 'PUBLISHING' AND {_CONCERNED.format(plan="p")}
    ORDER BY p.id, changed.user_id ON CONFLICT DO NOTHING
    """
)

# Where the class is taught, where its course has anything that learners have, or are about to get. No row for a class
# that no plan reaches: it is archived, or has no course.
READ_CLASS = text(
    """
    SELECT k.course_id, k.name FROM classes k
    WHERE k.id = :class_id AND NOT k.is_archived AND EXISTS (
        SELECT FROM plans p WHERE p.course_id = k.course_id AND (p.live_generation > 0 OR p.state = 'PUBLISHING')
    )
    """
)

_NEAREST_OF = f"""
    {_REACHES}
    ORDER BY CASE WHEN g.user_id IS NOT NULL THEN 0 WHEN g.class_id IS NOT NULL THEN 1 ELSE 2 END, g.due_at DESC LIMIT 1
"""
_NEAREST = _NEAREST_OF.format(learner="CAST(:user_id AS uuid)")
_LIVE = "p.course_id = :course_id AND p.live_generation > 0"
_SHOWN = f"{_LIVE} AND p.state IN ('PUBLISHED', 'PUBLISHING')"
# Those that open earlier by what the learner is to get. Before any of their tasks is written: a publication that keeps
# the tasks shares the plan while it waits for one that we have made, so we must not want more of the plan then. What
# `OPEN_EARLIER` finds beyond these had its opening changed since, and then its publication shares nothing.
LOCK_PLANS_THAT_OPEN = text(
    f"""
    SELECT p.id FROM plans p
    WHERE {_LIVE} AND (SELECT dated.opens_at FROM ({_NEAREST}) dated) < p.live_opens_at
    ORDER BY p.id FOR NO KEY UPDATE
    """
)
LOCK_PLANS_OF_COURSE = text(
    f"""
    SELECT p.id FROM plans p
    WHERE p.course_id = :course_id AND (
        p.state = 'PUBLISHING' OR (p.state = 'PUBLISHED' AND EXISTS ({_REACHES.format(learner=":user_id")})) OR EXISTS (
            SELECT FROM tasks t WHERE t.plan_id = p.id AND t.generation = p.live_generation
                AND t.assignee_user_id = :user_id AND t.status <> 'CANCELLED'
        )
    )
    ORDER BY p.id FOR KEY SHARE
    """
)
# As a publication would have made it, in the generation that is live. Who is picked what is the same as there. A count
# may be written as 2.0, which JSON calls an integer and Postgres does not.
FILL = text(
    f"""
    INSERT INTO tasks (
        type_name, title, assignee_user_id, assigned_by_id, created_at, assigned_at,
        plan_id, generation, opens_at, due_at, closes_at, selection
    )
    SELECT lower(p.type), p.title, u.id, p.created_by_id, CAST(:now AS timestamptz), CAST(:now AS timestamptz),
        p.id, p.live_generation, dated.opens_at, dated.due_at, dated.closes_at, chosen.positions
    FROM plans p
    JOIN users u ON u.id = :user_id AND u.is_active
    CROSS JOIN LATERAL ({_NEAREST}) dated
    CROSS JOIN LATERAL (
        SELECT array_agg(position ORDER BY position) AS positions FROM (
            SELECT s.position FROM task_step_templates s
            WHERE s.plan_id = p.id AND s.generation = p.live_generation AND s.is_dynamic
            ORDER BY hashtextextended(u.id::text || ':' || s.position, 0)
            LIMIT coalesce(CAST(CAST(
                coalesce(p.live_content -> 'settings', p.settings) ->> 'exercises_count_dynamic' AS numeric
            ) AS integer), 0)
        ) best
    ) chosen
    WHERE {_SHOWN} AND NOT EXISTS (
        SELECT FROM tasks gone WHERE gone.plan_id = p.id AND gone.generation = p.live_generation
            AND gone.status = 'CANCELLED' AND gone.cancelled_by_id IS NOT NULL AND gone.assignee_user_id = u.id
    )
    ORDER BY p.id
    {IF_ABSENT}
    """
)
# From that moment on the plan is open, and its teacher sees it locked.
OPEN_EARLIER = text(
    f"""
    UPDATE plans p SET live_opens_at = own.opens_at FROM tasks own
    WHERE {_LIVE} AND own.plan_id = p.id AND own.generation = p.live_generation
        AND own.assignee_user_id = :user_id AND own.status <> 'CANCELLED' AND own.opens_at < p.live_opens_at
    """
)
# Of plans that are withdrawn too: when such a plan is restored after its opening, its tasks keep theirs.
MOVE_ALONG = text(
    f"""
    UPDATE tasks t SET
        opens_at = moved.opens_at, due_at = moved.due_at, closes_at = moved.closes_at, version = t.version + 1
    FROM (
        SELECT own.id, dated.* FROM plans p
        JOIN tasks own ON own.plan_id = p.id AND own.generation = p.live_generation
            AND own.assignee_user_id = :user_id AND own.status <> 'CANCELLED'
        CROSS JOIN LATERAL ({_NEAREST}) dated
        WHERE {_LIVE}
    ) moved
    WHERE t.id = moved.id AND NOT t.is_touched
        AND (t.opens_at, t.due_at, t.closes_at) IS DISTINCT FROM (moved.opens_at, moved.due_at, moved.closes_at)
    """
)
# Of these learners, who no longer belong to the class or whose class no longer belongs to the course, those whom its
# plans reach through another class at other times: what they have not touched is to go by these.
READ_REDATED = text(
    f"""
    WITH lost AS MATERIALIZED (
        SELECT learner.user_id, course.course_id FROM unnest(CAST(:learners AS uuid[])) AS learner (user_id)
        CROSS JOIN unnest(CAST(:course_ids AS uuid[])) AS course (course_id)
        WHERE (
            SELECT coalesce(bool_and(k.id <> :class_id), false) FROM enrollments e
            JOIN classes k ON k.id = e.class_id AND NOT k.is_archived AND k.course_id = course.course_id
            WHERE e.user_id = learner.user_id AND e.status = 'ACTIVE'
        )
    )
    SELECT lost.user_id, lost.course_id, (SELECT name FROM classes WHERE id = :class_id) AS name FROM lost
    WHERE EXISTS (
        SELECT FROM tasks t
        JOIN plans p ON p.id = t.plan_id AND p.live_generation = t.generation AND p.course_id = lost.course_id
        CROSS JOIN LATERAL ({_NEAREST_OF.format(learner="lost.user_id")}) dated
        WHERE t.assignee_user_id = lost.user_id AND t.status = 'ASSIGNED' AND t.type_name <> 'timed_hold'
            AND NOT t.is_touched
            AND (t.opens_at, t.due_at, t.closes_at) IS DISTINCT FROM (dated.opens_at, dated.due_at, dated.closes_at)
    )
    ORDER BY lost.course_id, lost.user_id
    """
)
