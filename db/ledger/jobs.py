"""The base of every piece of work that a domain may ask for, when it recurs, and the work of the ledger itself.

A domain's `jobs.py` holds frozen dataclasses; their fields are the arguments, stored as JSON with their version:

    @dataclass(frozen=True)
    class PublishPlan(Work):
        kind: ClassVar[str] = "plan.publish"
        plan_id: UUID
        generation: int
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar, NamedTuple, Self
from uuid import UUID
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import TypeAdapter


@dataclass(frozen=True)
class Subject:
    """The thing a job works on: a type of the API (`TaskPlan`), its id, and its name at the time of asking."""

    type: str
    id: UUID
    label: str


@dataclass(frozen=True)
class Work:
    """A kind of job and its arguments. Subclasses are frozen dataclasses whose fields survive JSON; no secrets."""

    kind: ClassVar[str]
    queue: ClassVar[str] = "default"
    # How often a fault is tried, the first time included.
    max_attempts: ClassVar[int] = 5
    # How long one attempt may take.
    timeout_seconds: ClassVar[int] = 900
    # 0 runs first, 9 last; jobs of one priority run in the order of asking.
    priority: ClassVar[int] = 5
    # Goes up when the fields change in a way that old rows do not fit; see `upgrade`.
    args_version: ClassVar[int] = 1

    def unique_key(self) -> str | None:
        """At most one job of this kind and key waits or runs; who asks again gets that one. None: no limit."""
        return None

    def concurrency_key(self) -> str | None:
        """Jobs of one key share a limit of how many run at once. None: no limit."""
        return None

    @classmethod
    def recurring(cls) -> Sequence["Recurring"]:
        """When this kind comes again by itself. A schedule that is no longer named here stops."""
        return ()

    @classmethod
    def upgrade(cls, version: int, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arguments of an older version in today's form. Raises ValueError where there is no way."""
        if version != cls.args_version:
            raise ValueError(f"{cls.kind} has no way from version {version} to {cls.args_version}")
        return args

    def stored(self) -> dict[str, Any]:
        """The arguments as JSON."""
        stored: dict[str, Any] = _adapter(type(self)).dump_python(self, mode="json")
        return stored

    @classmethod
    def restored(cls, version: int, args: Mapping[str, Any]) -> Self:
        """The work that was stored. Raises ValueError where the arguments do not fit."""
        work: Self = _adapter(cls).validate_python(dict(cls.upgrade(version, args)))
        return work


_ADAPTERS: dict[type[Work], TypeAdapter[Any]] = {}


def _adapter(cls: type[Work]) -> TypeAdapter[Any]:
    if cls not in _ADAPTERS:
        _ADAPTERS[cls] = TypeAdapter(cls)
    return _ADAPTERS[cls]


# --- recurring work ---------------------------------------------------------------------------------------------------

_EVERY = re.compile(r"@every (?:(?P<days>\d+)d)?(?:(?P<hours>\d+)h)?(?:(?P<minutes>\d+)m)?(?:(?P<seconds>\d+)s)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_INTERVAL = timedelta(days=366)
# How far back the newest tick is looked for before all the time since: the first span that has one has not many.
_LOOK_BACK = tuple(timedelta(hours=hours) for hours in (1, 24, 24 * 8, 24 * 32, 24 * 366))


class Tick(NamedTuple):
    """One tick that is due, and when the next one is."""

    at: datetime
    then: datetime


@dataclass(frozen=True)
class Timetable:
    """When something recurs. Raises ValueError for a rule or a zone that cannot be understood.

    A rule is the five fields of cron (`minute hour day-of-month month day-of-week`), read in the time zone, or
    `@every 1h30m` (days, hours, minutes, seconds), counted from 1970 in UTC, so that everybody counts the same.
    Where clocks are put forward, a fixed time that does not exist is at the first minute that does; where they are put
    back, a fixed time is taken once, the first time. Rules whose minute or hour begins with `*` follow real time: they
    have nothing in an hour that is left out, and go on through one that comes twice.
    """

    rule: str
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if self._zone is None:
            raise ValueError(f"{self.time_zone!r} is no time zone: give a name such as Europe/Prague or UTC")
        if self.rule.startswith("@"):
            if not timedelta(seconds=1) <= self._interval <= _LONGEST_INTERVAL:
                raise ValueError(f"{self.rule!r}: an interval is `@every 10m` or `@every 1h30m`, 1 second to 366 days")
            return
        if len(self.rule.split()) != 5:
            raise ValueError(f"{self.rule!r}: a rule has the five fields of cron, such as `30 2 * * MON`")
        try:
            next(CronSim(self.rule, _EPOCH))
        except (CronSimError, StopIteration) as error:
            raise ValueError(f"{self.rule!r}: {error or 'no such day'}; a rule is such as `30 2 * * MON`") from error

    def after(self, moment: datetime) -> datetime:
        """The first tick after this moment."""
        return next(self._ticks(moment))

    def tick(self, *, due: datetime, now: datetime) -> Tick:
        """What to do about a tick that was due, and perhaps later ones too: the newest of them, once."""
        return Tick(self._newest(due, now), self.after(now))

    def _newest(self, due: datetime, now: datetime) -> datetime:
        for span in (*_LOOK_BACK, now - due):
            newest = None
            for at in self._ticks(max(due, now - span) - timedelta(microseconds=1)):
                if at > now:
                    break
                newest = at
            if newest is not None:
                return newest
        return due

    def _ticks(self, moment: datetime) -> Iterator[datetime]:
        if interval := self._interval:
            at = _EPOCH + (moment - _EPOCH) // interval * interval
            while True:
                at += interval
                yield at
        last = moment
        for tick in CronSim(self.rule, moment.astimezone(self._zone)):
            at = tick.astimezone(UTC)
            # In an hour that comes twice a fixed time means the first one, which may be over; and two times of an hour
            # that is left out are one.
            if at > last:
                last = at
                yield at

    @property
    def _interval(self) -> timedelta:
        found = _EVERY.fullmatch(self.rule)
        parts = found.groupdict(default="0") if found is not None else {}
        try:
            return timedelta(**{unit: int(number) for unit, number in parts.items()})
        except OverflowError:
            return timedelta.max

    @property
    def _zone(self) -> tzinfo | None:
        if self.time_zone == "UTC":
            return UTC
        try:
            return ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError):  # unknown, or no name at all
            return None


@dataclass(frozen=True)
class Recurring:
    """Work that comes again and again, under a name that never changes.

    Each tick makes one job, whoever ticks. Where nothing ran for a while, the newest tick that was missed is made up
    for, and the others are not. Where the work has a unique key and the job of the last tick still waits or runs, that
    job is this tick's too.
    """

    name: str
    timetable: Timetable
    work: Work


# --- the work of the ledger itself ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Retain(Work):
    """Delete what is older than it is to be kept: ended jobs, their events, ticks, answered requests, dead workers."""

    kind: ClassVar[str] = "ledger.retain"
    # After everything that somebody waits for.
    priority: ClassVar[int] = 9
    timeout_seconds: ClassVar[int] = 3_000

    def unique_key(self) -> str:
        """One at a time."""
        return "everything"

    @classmethod
    def recurring(cls) -> Sequence[Recurring]:
        """Hourly, at a minute at which little else begins."""
        return [Recurring("ledger.retain", Timetable("17 * * * *"), cls())]
