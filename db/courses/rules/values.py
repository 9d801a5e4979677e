"""Checks of single values that several requests share: dates in order, time zones, the end of a course."""

from datetime import datetime
from zoneinfo import ZoneInfo

from db.errors import Code, Problem, written


def time_zone_problem(name: str | None, *path: str) -> Problem | None:
    """Why this is no time zone, or None where it is one."""
    try:
        if name:
            ZoneInfo(name)
            return None
    except (KeyError, ValueError, OSError):
        pass  # unknown; not a plain name; a region such as "Europe", which is a directory
    message = "`timeZone` must be a name of the IANA time zone database, such as Europe/Berlin."
    return Problem(Code.BAD_USER_INPUT, message, path)


def dates_problem(starts_at: datetime | None, ends_at: datetime | None, *path: str) -> Problem | None:
    """Why a course cannot have these dates: it ends before it starts. Equal is fine."""
    if starts_at is not None and ends_at is not None and ends_at < starts_at:
        message = f"`endsAt` must not be before `startsAt` ({written(starts_at)})."
        return Problem(Code.DATES_OUT_OF_ORDER, message, path, {"startsAt": written(starts_at)})
    return None


def has_ended(ends_at: datetime | None, now: datetime) -> bool:
    """Whether a course that ends then is over."""
    return ends_at is not None and ends_at <= now


def ended_problem(ends_at: datetime | None, now: datetime, *path: str) -> Problem | None:
    """The refusal of a write to a course that is over, or to a class of it."""
    if ends_at is None or not has_ended(ends_at, now):
        return None
    message = f"The course ended at {written(ends_at)}. Move its `endsAt` first (updateCourse)."
    return Problem(Code.COURSE_ENDED, message, path, {"endsAt": written(ends_at)})
