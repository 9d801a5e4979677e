"""A plan's tasks by the learner's name, a page of which reads about what it shows, however large the plan.

The name is the person's, not the task's: kept with each task, it would be written and put into an index a hundred
thousand times by each publication. So a page of a large plan walks along the index of people's names, from where the
page before it ended, and looks up who has a task; that of a class walks along its roster. Where a plan has few
tasks, the walk would be longer than they are: then they are read and sorted. Neither reads more rows than about
√(page × people), 4,600 of a million people's. A walk that has seen four times as many and not filled its page is given
up, and all of the plan's tasks are read: among strangers, or where few are in the wanted status. Of 100,000, a page of
20 reads 500 blocks and takes 5 ms, one that is given up 30 ms; sorting all of them by name reads 600,000 blocks.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    Text,
    TextualSelect,
    Uuid,
    and_,
    any_,
    column,
    exists,
    func,
    literal_column,
    or_,
    select,
    text,
)

from db.accounts.queries import USER
from db.base import table_of
from db.courses.models import CourseClass, Enrollment
from db.plans.models import Plan
from db.reading import KEYS, Asked, Filter, Listing, Many, Order, bind
from db.tasks.queries import WORK_TASK, is_seen_by_learner, own_teams, teaches

_PLANS = table_of(Plan)
_CLASSES = table_of(CourseClass)
_ENROLLMENTS = table_of(Enrollment)


def _learner_name(task: FromClause) -> ColumnElement[Any]:
    users = USER.table
    name = select(func.lower(users.c.name)).where(users.c.id == task.c.assignee_user_id).scalar_subquery()
    # A task may have been given to a team.
    return func.coalesce(name, literal_column("''"))


def _learner(task: FromClause) -> ColumnElement[Any]:
    return func.coalesce(task.c.assignee_user_id, task.c.assignee_team_id)


def _live_of_plan(task: FromClause) -> ColumnElement[bool]:
    live = exists().where(_PLANS.c.id == task.c.plan_id, _PLANS.c.live_generation == task.c.generation)
    # True of every task: it lets Postgres answer from the two partial indexes together.
    cancelled: ColumnElement[str] = literal_column("'CANCELLED'")
    return and_(live, or_(task.c.status != cancelled, task.c.status == cancelled))


def _visible(task: FromClause) -> ColumnElement[bool]:
    """Whether the viewer sees a task of these plans: the rule of all tasks, asked once a plan and not once a task."""
    taught = select(_PLANS.c.id).where(_PLANS.c.id == any_(bind(KEYS, many=True)), teaches(_PLANS.c.course_id))
    own = and_(task.c.assignee_user_id == bind("viewer_id"), is_seen_by_learner(task))
    of_own_team = func.coalesce(task.c.assignee_team_id.in_(own_teams()), literal_column("false"))
    return or_(bind("viewer_is_editor", Boolean), task.c.plan_id.in_(taught), own, of_own_team)


def _of_class(task: FromClause) -> ColumnElement[bool]:
    # Of the plan's own course: of others, the filter would tell who attends a class that the viewer may not see.
    return and_(
        exists().where(
            _ENROLLMENTS.c.class_id == bind("class_id"),
            _ENROLLMENTS.c.user_id == task.c.assignee_user_id,
            _ENROLLMENTS.c.status == "ACTIVE",
        ),
        exists().where(
            _CLASSES.c.id == bind("class_id"), _PLANS.c.id == task.c.plan_id, _PLANS.c.course_id == _CLASSES.c.course_id
        ),
    )


# --- among which tasks a page is --------------------------------------------------------------------------------------

# What is asked once: whether the viewer sees everybody, and of how many tasks on a walk is the shorter way. A table of
# which nothing is known yet counts as one of ten thousand people.
_ASKED = """
    asked AS MATERIALIZED (
        SELECT p.course_id, p.live_generation, :viewer_is_editor
            OR EXISTS (SELECT FROM course_teachers c WHERE c.course_id = p.course_id AND c.user_id = :viewer_id)
            OR EXISTS (
                SELECT FROM classes k LEFT JOIN class_co_teachers o ON o.class_id = k.id AND o.user_id = :viewer_id
                WHERE k.course_id = p.course_id AND (k.teacher_id = :viewer_id OR o.user_id IS NOT NULL)
            ) AS sees_everybody,
            (
                SELECT CAST(sqrt(:page_limit * greatest(c.reltuples, 10000)) AS bigint)
                FROM pg_class c WHERE c.oid = 'users'::regclass
            ) AS enough
        FROM plans p WHERE p.id = parents.key
    )
"""
# Each half says, word for word, what the partial index that answers it says.
_HALF = """
    SELECT t.id, t.status, t.assignee_user_id, coalesce(t.assignee_user_id, t.assignee_team_id) AS learner_id
    FROM tasks t WHERE t.plan_id = parents.key AND t.generation = (SELECT live_generation FROM asked)
"""
_TASKS = (
    f"{_HALF} AND t.status <> 'CANCELLED' {{more}} UNION ALL {_HALF} AND t.status = 'CANCELLED' {{or_none}} {{more}}"
)
# In the order of those indexes, and no more than are few: how large a plan is, Postgres only knows of the average one,
# and would read the table of all tasks to find that this one has none.
_FIRST = "ORDER BY t.assignee_user_id LIMIT (SELECT enough FROM asked) + 1"
_FEW = f"({_HALF} AND t.status <> 'CANCELLED' {_FIRST}) UNION ALL ({_HALF} AND t.status = 'CANCELLED' {_FIRST})"
# A walk looks at four times the people whom it should need, at the most. One that has not filled its page by then,
# where there are more, has come among strangers, or those with a task in the wanted status are few: then the tasks are
# read and sorted.
_OF_PLAN = """
    WITH {asked}, many AS MATERIALIZED (
        SELECT a.sees_everybody AND (SELECT count(*) FROM ({few}) t) > a.enough AS are_many FROM asked a
    ), walked AS MATERIALIZED (
        SELECT t.id FROM (
            SELECT u.id, lower(u.name) AS name FROM users u {from_person}
            ORDER BY lower(u.name), u.id LIMIT (SELECT 4 * enough FROM asked)
        ) u CROSS JOIN LATERAL ({of_person}) t
        WHERE (SELECT are_many FROM many) {after_person}
        ORDER BY u.name, u.id, t.id LIMIT :page_limit
    ), given_up AS MATERIALIZED (
        SELECT (SELECT are_many FROM many) AND (SELECT count(*) FROM walked) < :page_limit AND EXISTS (
            SELECT FROM users u {from_person}
            ORDER BY lower(u.name), u.id LIMIT 1 OFFSET (SELECT 4 * enough FROM asked)
        ) AS is_given_up
    )
    SELECT id FROM walked
    UNION SELECT id FROM (
        SELECT t.id FROM ({few}) t
        LEFT JOIN LATERAL (SELECT name FROM users WHERE id = t.assignee_user_id OFFSET 0) u ON true
        WHERE (SELECT sees_everybody AND NOT are_many FROM asked, many) {status} {after_task}
        ORDER BY coalesce(lower(u.name), ''), t.learner_id, t.id LIMIT :page_limit
    ) looked_up
    UNION SELECT id FROM (
        SELECT t.id FROM ({tasks}) t LEFT JOIN users u ON u.id = t.assignee_user_id
        WHERE (SELECT is_given_up FROM given_up) {after_task}
        ORDER BY coalesce(lower(u.name), ''), t.learner_id, t.id LIMIT :page_limit
    ) sorted
    UNION SELECT id FROM ({of_teams}) of_teams
    UNION SELECT id FROM ({own}) own WHERE NOT (SELECT sees_everybody FROM asked)
"""
_OF_CLASS = """
    WITH {asked}, shown AS MATERIALIZED (
        SELECT a.sees_everybody AND EXISTS (
            SELECT FROM classes k WHERE k.id = :class_id AND k.course_id = a.course_id
        ) AS is_shown FROM asked a
    ), walked AS MATERIALIZED (
        SELECT t.id FROM (
            SELECT e.user_id, e.sort_name FROM enrollments e
            WHERE e.class_id = :class_id AND e.status = 'ACTIVE' AND (SELECT is_shown FROM shown) {from_member}
            ORDER BY e.sort_name, e.user_id LIMIT (SELECT 4 * enough FROM asked)
        ) e CROSS JOIN LATERAL ({of_member}) t
        WHERE true {after_member}
        ORDER BY e.sort_name, e.user_id, t.id LIMIT :page_limit
    ), given_up AS MATERIALIZED (
        SELECT (SELECT is_shown FROM shown) AND (SELECT count(*) FROM walked) < :page_limit AND EXISTS (
            SELECT FROM enrollments e WHERE e.class_id = :class_id AND e.status = 'ACTIVE' {from_member}
            ORDER BY e.sort_name, e.user_id LIMIT 1 OFFSET (SELECT 4 * enough FROM asked)
        ) AS is_given_up
    )
    SELECT id FROM walked
    UNION SELECT id FROM (
        SELECT t.id FROM ({tasks}) t JOIN enrollments e
            ON e.class_id = :class_id AND e.user_id = t.assignee_user_id AND e.status = 'ACTIVE'
        WHERE (SELECT is_given_up FROM given_up) {after_member}
        ORDER BY e.sort_name, e.user_id, t.id LIMIT :page_limit
    ) sorted
    UNION SELECT id FROM ({own}) own WHERE NOT (SELECT sees_everybody FROM asked)
"""
# Where a page goes on: from the last person's place in an index, and after their last task.
_FROM_PERSON = "WHERE (lower(u.name), u.id) >= (:page_after0, :page_after1)"
_AFTER_PERSON = "AND (u.name, u.id, t.id) > (:page_after0, :page_after1, :page_after2)"
_AFTER_TASK = """
    AND (coalesce(lower(u.name), ''), t.learner_id, t.id) > (:page_after0, :page_after1, :page_after2)
"""
_FROM_MEMBER = "AND e.sort_name >= :page_after0 AND (e.sort_name, e.user_id) >= (:page_after0, :page_after1)"
_AFTER_MEMBER = "AND (e.sort_name, e.user_id, t.id) > (:page_after0, :page_after1, :page_after2)"


def _among(asked: Asked) -> TextualSelect:
    """The ids of all tasks that a page by name may show. Of those who learn only, their own and those of teams."""
    status = "AND t.status = ANY (:statuses)" if "statuses" in asked.filters else ""

    # Whose statuses do not have it are not looked up among the cancelled.
    or_none = "AND 'CANCELLED' = ANY (:statuses)" if status else ""

    def tasks(whose: str = "") -> str:
        return _TASKS.format(more=f"{status} {whose}", or_none=or_none)

    sql = (_OF_CLASS if "class_id" in asked.filters else _OF_PLAN).format(
        asked=_ASKED,
        few=_FEW,
        status=status,
        tasks=tasks(),
        of_person=tasks("AND t.assignee_user_id = u.id"),
        of_member=tasks("AND t.assignee_user_id = e.user_id"),
        of_teams=tasks("AND t.assignee_user_id IS NULL"),
        own=tasks("AND t.assignee_user_id = :viewer_id"),
        from_person=_FROM_PERSON if asked.goes_on else "",
        after_person=_AFTER_PERSON if asked.goes_on else "",
        after_task=_AFTER_TASK if asked.goes_on else "",
        from_member=_FROM_MEMBER if asked.goes_on else "",
        after_member=_AFTER_MEMBER if asked.goes_on else "",
    )
    return text(sql).bindparams(*[each for each in _BOUND if f":{each.key}" in sql]).columns(column("id", Uuid))


_BOUND = (
    bind("viewer_id"),
    bind("viewer_is_editor", Boolean),
    bind("class_id"),
    bind("statuses", Text, many=True),
    bind("page_limit", BigInteger),
    bind("page_after0", Text),
    bind("page_after1"),
    bind("page_after2"),
)


TASKS_OF_PLAN = Many(
    lambda: WORK_TASK,
    key=lambda task: task.c.plan_id,
    listing=Listing(
        orders={
            "LEARNER": Order(
                (_learner_name, _learner, lambda task: task.c.id),
                (str, UUID, UUID),
                (False, False, False),
                among=_among,
            )
        },
        filters={
            "statuses": Filter(lambda task: task.c.status == any_(bind("statuses", Text, many=True))),
            "class_id": Filter(_of_class),
        },
    ),
    where=lambda task: and_(_live_of_plan(task), _visible(task)),
    is_guarded=False,
)
