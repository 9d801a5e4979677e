"""Decisions about courses, classes and enrollments, from values alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from db.accounts.rules import Role, UserFacts, Viewer
from db.courses.rules import (
    ENROLLMENT,
    ClassChanges,
    ClassValues,
    CourseChanges,
    CourseValues,
    EnrollmentStatus,
    Standing,
    decide_class_update,
    decide_course_update,
    decide_new_class,
)
from db.courses.rules.access import may_edit_class, may_edit_course, may_see
from db.courses.rules.changes import CourseFacts
from db.courses.rules.enrollment import ClassRoll, EnrollmentFacts, check_enroll_size, decide_drop, decide_move
from db.courses.rules.values import time_zone_problem
from db.errors import Code, LimitExceeded, Refused

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)
ME, OTHER, GONE = UUID(int=1), UUID(int=2), UUID(int=3)
COURSE, ELSEWHERE, CLASS, CLASS_2 = (UUID(int=number) for number in range(10, 14))
MEMBER = Viewer(ME, "Me", frozenset({Role.MEMBER}))
EDITOR = Viewer(ME, "Me", frozenset({Role.EDITOR}))
SERVICE = Viewer(ME, "Me", frozenset({Role.SERVICE}))
KNOWN = {
    ME: UserFacts(ME, frozenset({Role.MEMBER}), is_active=True),
    OTHER: UserFacts(OTHER, frozenset({Role.MEMBER}), is_active=True),
    GONE: UserFacts(GONE, frozenset({Role.MEMBER}), is_active=False),
}
NOTHING, COURSE_TEACHER = Standing(), Standing(teaches_course=True)
CLASS_TEACHER, LEARNER = Standing(teaches_class=True), Standing(attends=True)
ALGEBRA = CourseValues("Algebra", "1", "Europe/Berlin", NOW - DAY, NOW + DAY)
PERIOD = ClassValues("Period 1", COURSE, ME, frozenset({OTHER}))

Reasons = list[tuple[Code, tuple[str, ...]]]


def reasons(refused: pytest.ExceptionInfo[Refused]) -> Reasons:
    return [(problem.code, problem.path) for problem in refused.value.problems]


# --- access -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("viewer", "standing", "sees", "edits_course", "edits_class"),
    [
        (MEMBER, NOTHING, False, False, False),
        (SERVICE, NOTHING, False, False, False),
        (MEMBER, LEARNER, True, False, False),
        (MEMBER, CLASS_TEACHER, True, False, True),
        (MEMBER, COURSE_TEACHER, True, True, True),
        (EDITOR, NOTHING, True, True, True),
    ],
)
def test_who_may_see_and_change_courses_and_classes(
    viewer: Viewer, standing: Standing, sees: bool, edits_course: bool, edits_class: bool
) -> None:
    assert may_see(viewer, standing) is sees
    assert may_edit_course(viewer, standing) is edits_course
    assert may_edit_class(viewer, standing) is edits_class


# --- courses ----------------------------------------------------------------------------------------------------------


def test_a_course_changes_what_is_given_and_keeps_the_rest() -> None:
    after = decide_course_update(before=ALGEBRA, changes={"title": " Algebra II ", "version": None}, known={}, now=NOW)
    assert after == replace(ALGEBRA, title="Algebra II", version=None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"title": None}, [(Code.BAD_USER_INPUT, ("title",))]),
        ({"version": " "}, [(Code.BAD_USER_INPUT, ("version",))]),
        ({"time_zone": None}, [(Code.BAD_USER_INPUT, ("timeZone",))]),
        ({"ends_at": NOW - 2 * DAY}, [(Code.DATES_OUT_OF_ORDER, ("endsAt",))]),
        ({"starts_at": NOW + 2 * DAY}, [(Code.DATES_OUT_OF_ORDER, ("startsAt",))]),
        (
            {"teacher_ids": [ME, CLASS, GONE], "title": ""},
            [
                (Code.BAD_USER_INPUT, ("title",)),
                (Code.NOT_FOUND, ("teacherIds", "1")),
                (Code.BAD_USER_INPUT, ("teacherIds", "2")),
            ],
        ),
    ],
)
def test_a_course_is_refused_with_all_reasons_at_once(changes: CourseChanges, expected: Reasons) -> None:
    with pytest.raises(Refused) as refused:
        decide_course_update(before=ALGEBRA, changes=changes, known=KNOWN, now=NOW)
    assert reasons(refused) == expected


def test_a_course_may_end_the_moment_it_starts() -> None:
    after = decide_course_update(before=ALGEBRA, changes={"ends_at": ALGEBRA.starts_at}, known={}, now=NOW)
    assert after.ends_at == ALGEBRA.starts_at


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires"])
def test_names_of_the_time_zone_database_are_time_zones(zone: str) -> None:
    assert time_zone_problem(zone, "timeZone") is None


@pytest.mark.parametrize("zone", [None, "", "Europe", "Mars/Olympus", "../etc/passwd", "/etc/passwd", "a\0b", "+02:00"])
def test_anything_else_is_no_time_zone(zone: str | None) -> None:
    assert time_zone_problem(zone, "timeZone") is not None


@pytest.mark.parametrize("changes", [{"title": "New"}, {"ends_at": NOW}])
def test_a_course_that_is_over_stays_as_it_is(changes: CourseChanges) -> None:
    over = replace(ALGEBRA, ends_at=NOW)
    with pytest.raises(Refused) as refused:
        decide_course_update(before=over, changes=changes, known={}, now=NOW)
    assert reasons(refused) == [(Code.COURSE_ENDED, ("courseId",))]


@pytest.mark.parametrize("ends_at", [NOW + DAY, None])
def test_a_course_that_is_over_goes_on_when_its_end_is_moved(ends_at: datetime | None) -> None:
    over = replace(ALGEBRA, ends_at=NOW)
    after = decide_course_update(before=over, changes={"ends_at": ends_at, "title": "New"}, known={}, now=NOW)
    assert (after.title, after.ends_at) == ("New", ends_at)


# --- classes ----------------------------------------------------------------------------------------------------------


def course(standing: Standing, *, id_: UUID = COURSE, ends_at: datetime | None = None) -> CourseFacts:
    return CourseFacts(id_, ends_at, standing)


def new_class(
    actor: Viewer, values: ClassValues, facts: CourseFacts | None, *, teaches_anything: bool = False
) -> ClassValues:
    return decide_new_class(actor, values=values, course=facts, teaches_anything=teaches_anything, known=KNOWN, now=NOW)


@pytest.mark.parametrize(("actor", "standing"), [(MEMBER, COURSE_TEACHER), (EDITOR, NOTHING)])
def test_a_class_is_made_in_a_course_by_its_teachers_and_editors(actor: Viewer, standing: Standing) -> None:
    assert new_class(actor, PERIOD, course(standing)) == PERIOD


@pytest.mark.parametrize(
    ("standing", "code"),
    [(NOTHING, Code.NOT_FOUND), (LEARNER, Code.FORBIDDEN), (CLASS_TEACHER, Code.FORBIDDEN)],
)
def test_nobody_else_makes_one_there(standing: Standing, code: Code) -> None:
    with pytest.raises(Refused) as refused:
        new_class(MEMBER, PERIOD, course(standing), teaches_anything=True)
    assert reasons(refused) == [(code, ("courseId",))]


def test_whoever_teaches_something_makes_a_class_of_their_own_without_a_course() -> None:
    own = replace(PERIOD, course_id=None)
    assert new_class(MEMBER, own, None, teaches_anything=True) == own
    for values, teaches in ((own, False), (replace(own, teacher_id=OTHER), True)):
        with pytest.raises(Refused) as refused:
            new_class(MEMBER, values, None, teaches_anything=teaches)
        assert reasons(refused) == [(Code.FORBIDDEN, ())]


def test_the_teacher_of_a_class_is_not_their_own_co_teacher() -> None:
    made = new_class(EDITOR, replace(PERIOD, co_teacher_ids=(ME, OTHER, OTHER)), course(NOTHING))
    assert made.co_teacher_ids == {OTHER}


def test_a_new_class_is_refused_with_all_reasons_at_once() -> None:
    bad = ClassValues(" ", COURSE, GONE, (CLASS, OTHER))
    with pytest.raises(Refused) as refused:
        new_class(EDITOR, bad, course(NOTHING, ends_at=NOW))
    assert reasons(refused) == [
        (Code.COURSE_ENDED, ("courseId",)),
        (Code.BAD_USER_INPUT, ("name",)),
        (Code.BAD_USER_INPUT, ("teacherId",)),
        (Code.NOT_FOUND, ("coTeacherIds", "0")),
    ]


def changed(
    changes: ClassChanges,
    *,
    actor: Viewer = MEMBER,
    before: ClassValues = PERIOD,
    now_in: CourseFacts | None = None,
    then_in: CourseFacts | None = None,
) -> tuple[ClassValues, bool, bool]:
    update = decide_class_update(
        actor,
        before=before,
        changes=changes,
        course_before=now_in or course(CLASS_TEACHER),
        course_after=then_in,
        known=KNOWN,
        now=NOW,
    )
    return update.values, update.is_course_assigned, update.is_rescope_enabled


def test_a_class_changes_what_is_given_and_keeps_the_rest() -> None:
    assert changed({"name": " P2 ", "co_teacher_ids": None}) == (
        replace(PERIOD, name="P2", co_teacher_ids=frozenset()),
        False,
        False,
    )


def test_switching_rescoping_on_is_told_once_and_only_with_a_course() -> None:
    enabled = replace(PERIOD, rescope_enabled=True)
    assert changed({"rescope_enabled": True}) == (enabled, False, True)
    assert changed({"rescope_enabled": True}, before=enabled) == (enabled, False, False)
    without = replace(PERIOD, course_id=None)
    assert changed({"rescope_enabled": True}, before=without) == (replace(without, rescope_enabled=True), False, False)


def test_a_course_is_assigned_where_it_is_another_than_before() -> None:
    target = course(COURSE_TEACHER, id_=ELSEWHERE)
    assert changed({"course_id": ELSEWHERE}, then_in=target) == (replace(PERIOD, course_id=ELSEWHERE), True, False)
    assert changed({"course_id": COURSE}, then_in=course(CLASS_TEACHER)) == (PERIOD, False, False)
    assert changed({"course_id": None}) == (replace(PERIOD, course_id=None), False, False)


def reach_changed(changes: ClassChanges, before: ClassValues = PERIOD) -> UUID | None:
    update = decide_class_update(
        MEMBER,
        before=before,
        changes=changes,
        course_before=course(CLASS_TEACHER),
        course_after=course(COURSE_TEACHER, id_=ELSEWHERE),
        known=KNOWN,
        now=NOW,
    )
    return update.reach_changed_of


def test_its_course_reaches_a_class_no_longer_or_again_where_it_is_archived_put_back_or_leaves_it() -> None:
    archived = replace(PERIOD, is_archived=True)
    assert reach_changed({"is_archived": True}) == COURSE
    assert reach_changed({"is_archived": False}, archived) == COURSE
    assert reach_changed({"course_id": None}) == COURSE
    assert reach_changed({"course_id": None, "is_archived": True}) == COURSE
    assert reach_changed({"is_archived": True}, archived) is None
    assert reach_changed({"course_id": COURSE, "name": "New"}) is None
    # The course that it gets is told instead, whatever else changes.
    assert reach_changed({"course_id": ELSEWHERE, "is_archived": False}, archived) is None
    assert reach_changed({"is_archived": True}, replace(PERIOD, course_id=None)) is None


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (None, Code.NOT_FOUND),
        (CourseFacts(ELSEWHERE, None, NOTHING), Code.NOT_FOUND),
        (CourseFacts(ELSEWHERE, None, LEARNER), Code.FORBIDDEN),
    ],
)
def test_a_class_goes_into_a_course_only_with_the_right_to_it(target: CourseFacts | None, code: Code) -> None:
    with pytest.raises(Refused) as refused:
        changed({"course_id": ELSEWHERE}, then_in=target)
    assert reasons(refused) == [(code, ("courseId",))]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"name": None}, ("name",)),
        ({"teacher_id": None}, ("teacherId",)),
        ({"rescope_enabled": None}, ("rescopeEnabled",)),
        ({"is_archived": None}, ("isArchived",)),
        ({"name": ""}, ("name",)),
        ({"teacher_id": GONE}, ("teacherId",)),
        ({"co_teacher_ids": [OTHER, GONE]}, ("coTeacherIds", "1")),
    ],
)
def test_what_cannot_be_is_refused_at_its_path(changes: ClassChanges, path: tuple[str, ...]) -> None:
    with pytest.raises(Refused) as refused:
        changed(changes)
    assert reasons(refused) == [(Code.BAD_USER_INPUT, path)]


def test_after_the_end_a_class_can_be_archived_or_leave_and_nothing_else() -> None:
    over = course(CLASS_TEACHER, ends_at=NOW)
    assert changed({"is_archived": True}, now_in=over)[0].is_archived
    assert changed({"course_id": None}, now_in=over)[0].course_id is None
    running = course(COURSE_TEACHER, id_=ELSEWHERE, ends_at=NOW + DAY)
    assert changed({"course_id": ELSEWHERE, "name": "New"}, now_in=over, then_in=running)[1]
    with pytest.raises(Refused) as refused:
        changed({"name": "New"}, now_in=over)
    assert reasons(refused) == [(Code.COURSE_ENDED, ("classId",))]
    with pytest.raises(Refused) as refused:
        changed({"course_id": ELSEWHERE}, then_in=course(COURSE_TEACHER, id_=ELSEWHERE, ends_at=NOW))
    assert reasons(refused) == [(Code.COURSE_ENDED, ("courseId",))]


# --- enrollments ------------------------------------------------------------------------------------------------------


def roll(
    standing: Standing = CLASS_TEACHER, *, id_: UUID = CLASS, course_id: UUID | None = COURSE, is_archived: bool = False
) -> ClassRoll:
    return ClassRoll(id_, "Period", course_id, NOW + DAY, is_archived, standing)


HERS = EnrollmentFacts(UUID(int=20), OTHER, EnrollmentStatus.ACTIVE)
MINE = replace(HERS, user_id=ME)


def test_pending_becomes_active_and_both_may_be_dropped() -> None:
    assert set(ENROLLMENT.edges) == {
        (EnrollmentStatus.PENDING, EnrollmentStatus.ACTIVE),
        (EnrollmentStatus.PENDING, EnrollmentStatus.DROPPED),
        (EnrollmentStatus.ACTIVE, EnrollmentStatus.DROPPED),
    }
    assert ENROLLMENT.terminal == {EnrollmentStatus.DROPPED}


@pytest.mark.parametrize("standing", [CLASS_TEACHER, COURSE_TEACHER])
def test_teachers_drop_what_is_not_dropped(standing: Standing) -> None:
    for status in EnrollmentStatus:
        enrollment = replace(HERS, status=status)
        if ENROLLMENT.allows(status, EnrollmentStatus.DROPPED):
            decide_drop(MEMBER, enrollment=enrollment, roll=roll(standing), now=NOW)
        else:
            with pytest.raises(Refused) as refused:
                decide_drop(MEMBER, enrollment=enrollment, roll=roll(standing), now=NOW)
            assert reasons(refused) == [(Code.INVALID_TRANSITION, ("enrollmentId",))]


def test_learners_drop_nobody_and_see_only_themselves() -> None:
    for enrollment, code in ((MINE, Code.FORBIDDEN), (HERS, Code.NOT_FOUND)):
        with pytest.raises(Refused) as refused:
            decide_drop(MEMBER, enrollment=enrollment, roll=roll(LEARNER), now=NOW)
        assert reasons(refused) == [(code, ("enrollmentId",))]


def test_an_archived_class_and_a_course_that_is_over_keep_their_roster() -> None:
    over = replace(roll(is_archived=True), course_ends_at=NOW)
    with pytest.raises(Refused) as refused:
        decide_drop(MEMBER, enrollment=HERS, roll=over, now=NOW)
    assert reasons(refused) == [(Code.COURSE_ENDED, ("enrollmentId",)), (Code.BAD_USER_INPUT, ("enrollmentId",))]


def move(target: ClassRoll | None, *, is_there_already: bool = False, enrollment: EnrollmentFacts = HERS) -> None:
    decide_move(MEMBER, enrollment=enrollment, source=roll(), target=target, is_there_already=is_there_already, now=NOW)


def test_a_move_is_to_another_class_of_the_same_course() -> None:
    move(roll(id_=CLASS_2))
    for target in (roll(), roll(id_=CLASS_2, course_id=ELSEWHERE), roll(id_=CLASS_2, course_id=None)):
        with pytest.raises(Refused) as refused:
            move(target)
        assert reasons(refused) == [(Code.BAD_USER_INPUT, ("toClassId",))]


def test_a_move_needs_the_right_to_both_classes() -> None:
    for target, code in ((None, Code.NOT_FOUND), (roll(NOTHING), Code.NOT_FOUND), (roll(LEARNER), Code.FORBIDDEN)):
        with pytest.raises(Refused) as refused:
            move(target)
        assert reasons(refused) == [(code, ("toClassId",))]


def test_a_move_to_where_they_are_already_is_a_conflict() -> None:
    with pytest.raises(Refused) as refused:
        move(roll(id_=CLASS_2), is_there_already=True)
    assert reasons(refused) == [(Code.CONFLICT, ("toClassId",))]


def test_a_move_into_an_archived_class_of_somebody_dropped_is_refused_for_both() -> None:
    with pytest.raises(Refused) as refused:
        move(roll(id_=CLASS_2, is_archived=True), enrollment=replace(HERS, status=EnrollmentStatus.DROPPED))
    assert reasons(refused) == [(Code.INVALID_TRANSITION, ("enrollmentId",)), (Code.BAD_USER_INPUT, ("toClassId",))]


def test_a_request_enrolls_one_to_ten_thousand() -> None:
    check_enroll_size([ME] * 5_000, ["a@b"] * 5_000)
    with pytest.raises(LimitExceeded) as limit:
        check_enroll_size([ME] * 5_000, ["a@b"] * 5_001)
    assert (limit.value.limit, limit.value.allowed, limit.value.asked) == ("enroll", 10_000, 10_001)
    with pytest.raises(Refused) as refused:
        check_enroll_size([], [])
    assert reasons(refused) == [(Code.BAD_USER_INPUT, ("userIds",))]
