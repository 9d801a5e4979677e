"""The school of the demo: a course of 120 items in four units, three classes, a thousand learners in one of them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from db.accounts.rules import Viewer
from db.courses import commands as courses
from db.courses.models import Course, CourseClass, CourseItem, CourseLesson, CourseUnit
from db.session import Database, Tx
from server.demo.people import address_of, make_cast, make_learners, make_team
from server.demo.work import run_due_jobs

COURSE_KEY = "physics"
LARGE_CLASS, CLASSES = "Physics online", {"Physics 10a": 28, "Physics 10b": 24}
LEARNERS_IN_LARGE = 1_000
AGE = timedelta(days=25)

UNITS = {
    "Motion": [
        "Position and displacement",
        "Speed and velocity",
        "Acceleration",
        "Falling bodies",
        "Projectiles",
    ],
    "Forces": ["Newton's laws", "Friction", "Weight and gravity", "Circular motion", "Equilibrium"],
    "Energy": ["Work", "Kinetic energy", "Potential energy", "Conservation of energy", "Power"],
    "Waves": ["Oscillations", "Sound", "Light", "Reflection and refraction", "Interference"],
}
# What each lesson has: key, title, format.
PARTS = (
    ("read", "Read: {}", "COLLECTION"),
    ("examples", "Worked examples: {}", "COLLECTION"),
    ("simulation", "Simulation: {}", "COLLECTION_EXTERNAL"),
    ("check", "Check yourself: {}", "ASSESSMENT"),
    ("problems", "Problems: {}", "ASSESSMENT"),
    ("quiz", "Quiz: {}", "ASSESSMENT_EXTERNAL"),
)


@dataclass(frozen=True, slots=True)
class School:
    """What the demo's plans are made with: classes by name, items by their import key, in the course's order."""

    people: dict[str, Viewer]
    course_id: UUID
    classes: dict[str, UUID]
    items: dict[str, UUID]

    @property
    def large_class(self) -> UUID:
        """The class of a thousand."""
        return self.classes[LARGE_CLASS]


def course_document(*, extra: bool = False) -> dict[str, Any]:
    """The course as it is imported. `extra`: with one item that a later import leaves out."""
    document: dict[str, Any] = {
        "key": COURSE_KEY,
        "title": "Physics",
        "version": "2",
        "timeZone": "Europe/Berlin",
        "teacherEmails": [address_of("teacher")],
        "units": [
            {"key": f"u{u}", "title": title, "lessons": [_lesson(u, n, lesson) for n, lesson in enumerate(lessons, 1)]}
            for u, (title, lessons) in enumerate(UNITS.items(), 1)
        ],
    }
    if extra:
        item = {"key": "field-trip", "title": "Field trip notes", "format": "COLLECTION", "competencies": []}
        document["units"][-1]["lessons"][-1]["items"].append(item)
    return document


def _lesson(unit: int, number: int, title: str) -> dict[str, Any]:
    items = [
        {
            "key": f"u{unit}.l{number}.{key}",
            "title": called.format(title),
            "format": format_,
            # The quiz covers all that the lesson teaches, each other part one thing of it.
            "competencies": [f"PHY.{unit}.{number}.{n}" for n in (range(1, 5) if key == "quiz" else [place % 4 + 1])],
        }
        for place, (key, called, format_) in enumerate(PARTS)
    ]
    return {"key": f"u{unit}.l{number}", "title": title, "items": items}


async def make_school(database: Database) -> School:
    """The school, made some weeks ago where it is not there yet."""
    shift = database.clock.shift
    database.clock.shift = shift - AGE
    try:
        async with database.transaction() as tx:
            people = await make_cast(tx)
            await make_team(tx, people)
            course_id = (await tx.execute(select(Course.id).where(Course.key == COURSE_KEY))).scalar()
            if course_id is None:
                course_id = await _make_course(tx, people)
            school = await _found(tx, people, course_id)
        await run_due_jobs(database)
        return school
    finally:
        database.clock.shift = shift


async def import_again(tx: Tx, school: School, *, extra: bool) -> School:
    """Import the course over itself, with or without the extra item."""
    await courses.import_course(
        tx,
        actor=school.people["editor"],
        document=course_document(extra=extra),
        course_id=school.course_id,
        now=tx.now,
    )
    return await _found(tx, school.people, school.course_id)


async def _make_course(tx: Tx, people: dict[str, Viewer]) -> UUID:
    editor, teacher = people["editor"], people["teacher"]
    made = await courses.import_course(tx, actor=editor, document=course_document(), now=tx.now)
    learners = await make_learners(tx, LEARNERS_IN_LARGE - 2 + sum(CLASSES.values()))
    for name, size in {**CLASSES, LARGE_CLASS: LEARNERS_IN_LARGE - 2}.items():
        class_id = await courses.create_class(
            tx,
            actor=teacher,
            name=name,
            teacher_id=teacher.user_id,
            course_id=made.course_id,
            co_teacher_ids=[people["co_teacher"].user_id] if name == LARGE_CLASS else [],
            now=tx.now,
        )
        members, learners = learners[:size], learners[size:]
        if name == LARGE_CLASS:
            members += [people["learner"].user_id, people["other_learner"].user_id]
        emails = [address_of("newcomer")] if name != LARGE_CLASS else []
        await courses.enroll(tx, actor=teacher, class_id=class_id, user_ids=members, emails=emails, now=tx.now)
    return made.course_id


async def _found(tx: Tx, people: dict[str, Viewer], course_id: UUID) -> School:
    classes = await tx.execute(select(CourseClass.name, CourseClass.id).where(CourseClass.course_id == course_id))
    there = CourseItem.deleted_at.is_(None)
    items = await tx.execute(
        select(CourseItem.key, CourseItem.id)
        .join(CourseLesson, CourseLesson.id == CourseItem.lesson_id)
        .join(CourseUnit, CourseUnit.id == CourseLesson.unit_id)
        .where(CourseItem.course_id == course_id, there)
        .order_by(CourseUnit.position, CourseLesson.position, CourseItem.position)
    )
    return School(
        people,
        course_id,
        {row.name: row.id for row in classes},
        {row.key: row.id for row in items},
    )
