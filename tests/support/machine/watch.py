"""What must hold in the ledger after every step, whoever did what: looked up in the tables, compared with before."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

from db.ledger.queries import read_events
from db.ledger.rules import JOB, TERMINAL, JobState
from db.session import Database

Row = Mapping[str, Any]
COUNTS = ("failures", "crash_count", "interruptions")
# After these a job that goes on begins to count its crashes anew.
GOES_ON_LATER = frozenset({"RETRY", "SNOOZED"})
# Moves that are no event: people see QUEUED all the time.
SILENT = {
    (JobState.SCHEDULED, JobState.QUEUED),
    (JobState.QUEUED, JobState.DISPATCHED),
    (JobState.DISPATCHED, JobState.QUEUED),
}


def _reached(states: set[JobState], edges: set[tuple[JobState, JobState]]) -> set[JobState]:
    """These states, and all that can be reached from them."""
    while more := {after for before, after in edges if before in states} - states:
        states = states | more
    return states


# What can be after a state, however many moves were made since the last look.
LATER = {state: _reached({state}, set(JOB.edges)) for state in JobState}
# What the next STATUS event may say: any number of silent moves, and one that is told.
NEXT = {
    state: {after for before, after in JOB.edges if before in _reached({state}, SILENT)} - {JobState.DISPATCHED}
    for state in JobState
}


@dataclass
class Seen:
    """Everything in the ledger at one moment."""

    jobs: dict[UUID, Row] = field(default_factory=dict)
    events: dict[UUID, list[Row]] = field(default_factory=dict)
    attempts: dict[UUID, list[Row]] = field(default_factory=dict)
    effects: Counter[tuple[UUID, int]] = field(default_factory=Counter)
    batches: Counter[tuple[UUID, int]] = field(default_factory=Counter)
    queues: dict[str, Row] = field(default_factory=dict)
    ticks: list[Row] = field(default_factory=list)


class Watch:
    """Looks after every step. `steps` counts the looks, `moves` the changes of state that it has seen."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.looks = 0
        self.moves: Counter[tuple[str, str]] = Counter()
        self.forget()

    def forget(self) -> None:
        """Begin anew, with empty tables."""
        self._seen = Seen()
        self._committed: set[UUID] = set()
        self._gone: set[UUID] = set()
        self._forget_before: datetime | None = None
        self._expected: dict[UUID, tuple[int, int]] = {}
        self._wrote: Counter[tuple[UUID, int]] = Counter()
        self._dispatched: set[tuple[UUID, int]] = set()

    # ------------------------------------------------------------------------- what those who act say

    def exists(self, *job_ids: UUID) -> None:
        """The transaction that asked for these has committed."""
        self._committed.update(job_ids)

    def may_forget(self, before: datetime) -> None:
        """What ended before then may go."""
        self._forget_before = before

    def costs(self, job_id: UUID) -> tuple[int, int]:
        """The failures and crashes of a job at the last look."""
        row = self._seen.jobs[job_id]
        return row["failures"], row["crash_count"]

    def expects(self, job_id: UUID, costs: tuple[int, int]) -> None:
        """At the next look the job has these failures and crashes."""
        self._expected[job_id] = costs

    def wrote(self, job_id: UUID, attempt: int) -> None:
        """A transaction of this attempt in the middle of the job has committed."""
        self._wrote[job_id, attempt] += 1

    def pick(self, which: int) -> UUID | None:
        """One of the jobs that there are."""
        ids = sorted(self._seen.jobs)
        return ids[which % len(ids)] if ids else None

    def running(self) -> set[UUID]:
        """The jobs that somebody runs."""
        return {job_id for job_id, row in self._seen.jobs.items() if row["state"] == JobState.RUNNING}

    def is_over(self) -> bool:
        """Whether every job has ended."""
        return not self.alive()

    def alive(self) -> list[Row]:
        """The jobs that have not ended."""
        return [row for row in self._seen.jobs.values() if row["state"] not in TERMINAL]

    # ------------------------------------------------------------------------- looking

    async def look(self) -> None:
        """Look at everything, and say what does not hold."""
        self.looks += 1
        before, now = self._seen, await self._read()
        self._jobs_are_those_that_were_committed(now)
        for job_id, row in now.jobs.items():
            story = now.events.get(job_id, [])
            if job_id in before.jobs:
                self._changed_as_it_may(before.jobs[job_id], row)
                told = before.events[job_id]
                assert story[: len(told)] == told, "what was told has changed"
            _story_is_whole(row, story)
            _attempts_fit(row, now.attempts.get(job_id, []))
            is_completed = row["state"] == JobState.COMPLETED
            assert now.effects[job_id, 0] == int(is_completed), "an effect without a completion, or the other way round"
        assert now.batches == self._wrote, "a write that is lost, or one that was refused and is there"
        for job_id, attempt in now.batches - before.batches:
            row = now.jobs[job_id]
            assert (row["state"], row["attempt"]) == (JobState.RUNNING, attempt), "a write from an older fence"
        for job_id, costs in self._expected.items():
            row = now.jobs[job_id]
            assert (row["failures"], row["crash_count"]) == costs, "a drain has cost something"
        self._expected.clear()
        _keys_are_unique(now)
        _queues_hold(before, now)
        _each_tick_has_its_job(now, self._gone)
        self._tickets_are_new(before, now)
        self._seen = now
        await self._resume_somewhere(now)

    async def _read(self) -> Seen:
        fetch = self._database.reader.fetch
        seen = Seen(jobs={row["id"]: dict(row) for row in await fetch("SELECT * FROM jobs")})
        for row in await fetch("SELECT * FROM job_events ORDER BY job_id, seq"):
            seen.events.setdefault(row["job_id"], []).append(dict(row))
        for row in await fetch("SELECT * FROM job_attempts ORDER BY job_id, number"):
            seen.attempts.setdefault(row["job_id"], []).append(dict(row))
        for row in await fetch("SELECT job_id, step, attempt, count(*) AS n FROM effects GROUP BY 1, 2, 3"):
            if row["step"] == 0:
                seen.effects[row["job_id"], 0] += row["n"]
            else:
                seen.batches[row["job_id"], row["attempt"]] += row["n"]
        seen.queues = {row["name"]: dict(row) for row in await fetch("SELECT * FROM queues")}
        seen.ticks = [dict(row) for row in await fetch("SELECT * FROM schedule_ticks")]
        return seen

    # ------------------------------------------------------------------------- what must hold

    def _jobs_are_those_that_were_committed(self, now: Seen) -> None:
        gone = self._committed - self._gone - now.jobs.keys()
        for job_id in gone:
            row = self._seen.jobs.get(job_id)
            assert row is not None, "a job whose transaction has committed is not there"
            assert row["state"] in TERMINAL, "a job that lives has been forgotten"
            assert self._forget_before is not None
            assert row["finished_at"] <= self._forget_before, "a job has been forgotten too early"
            assert job_id not in now.events, "a job is gone, its events are not"
        self._gone |= gone
        assert now.jobs.keys() == self._committed - self._gone, "a job is there whose transaction was rolled back"

    def _changed_as_it_may(self, before: Row, now: Row) -> None:
        was, state = JobState(before["state"]), JobState(now["state"])
        if was in TERMINAL:
            assert before == now, "a job that had ended has changed"
            return
        if was != state:
            self.moves[was, state] += 1
        assert state in LATER[was], f"from {was} to {state}"
        for name in ("fence", "attempt", "last_seq", "progress", "failures", "interruptions"):
            assert now[name] >= before[name], f"{name} went back"
        if state != JobState.RUNNING or now["attempt"] == before["attempt"]:
            return
        assert now["fence"] > before["fence"], "claimed under an old fence"

    def _tickets_are_new(self, before: Seen, now: Seen) -> None:
        """A job that is dispatched again is so under a new fence: no ticket of before is in date."""
        under_way = {(row["id"], row["fence"]) for row in now.jobs.values() if row["state"] == JobState.DISPATCHED}
        still = {(row["id"], row["fence"]) for row in before.jobs.values() if row["state"] == JobState.DISPATCHED}
        assert not (under_way - still) & self._dispatched, "a ticket of before is in date again"
        self._dispatched |= under_way

    async def _resume_somewhere(self, now: Seen) -> None:
        """Whoever resumes from a cursor gets what comes after it, once and in order, in however many pages."""
        job_id = self.pick(self.looks)
        if job_id is None:
            return
        story = now.events[job_id]
        cursor = self.looks % (len(story) + 1)
        got: list[int] = []
        reader = self._database.reader
        while page := (await read_events(reader, after=[(job_id, cursor)], limit=3)).get((job_id, cursor)):
            got += [event.seq for event in page]
            cursor = page[-1].seq
            assert page[-1].is_terminal == (cursor == len(story) and now.jobs[job_id]["state"] in TERMINAL)
        assert got == [event["seq"] for event in story[self.looks % (len(story) + 1) :]]


def _story_is_whole(row: Row, story: list[Row]) -> None:
    assert [event["seq"] for event in story] == list(range(1, row["last_seq"] + 1)), "a gap or a repeat"
    told = [event for event in story if event["type"] == "STATUS"]
    for before, after in pairwise(told):
        was, is_now = JobState(before["state"]), JobState(after["state"])
        is_asked_to_stop = was is JobState.RUNNING and is_now is JobState.RUNNING
        assert is_now in NEXT[was] or is_asked_to_stop, f"told {is_now} after {was}"
    for event in story:
        if event["type"] == "LOG":
            assert event["state"] == JobState.RUNNING, "told by a job that did not run"
            assert event["message"] == f"attempt {event['attempt']}", "told by an older attempt"
    is_last = [event["state"] in TERMINAL for event in story]
    assert is_last == [False] * (len(story) - 1) + [row["state"] in TERMINAL], "events after the end, or an end untold"


def _attempts_fit(row: Row, attempts: list[Row]) -> None:
    assert [each["number"] for each in attempts] == list(range(1, row["attempt"] + 1))
    is_open = [each["outcome"] is None for each in attempts]
    is_running = row["state"] == JobState.RUNNING
    if is_running:
        holder = attempts[-1]
        assert (holder["fence"], holder["worker_id"]) == (row["fence"], row["worker_id"]), "not the one that holds it"
    assert sum(is_open) == int(is_running), "an attempt that is open and nobody's, or two"
    assert not is_running or is_open[-1]
    fences = [each["fence"] for each in attempts]
    assert fences == sorted(set(fences)), "an attempt under an old fence"
    assert sum(row[name] for name in COUNTS) <= row["attempt"]
    assert row["failures"] <= row["max_attempts"]
    crashes = 0
    for each in attempts:
        crashes = 0 if each["outcome"] in GOES_ON_LATER else crashes + (each["outcome"] == "LOST")
    assert row["crash_count"] == crashes <= 3, "crashes in a row, miscounted"
    if row["started_at"] is None:
        assert row["attempt"] == 0, "it ran before it began"


def _keys_are_unique(now: Seen) -> None:
    alive = [row for row in now.jobs.values() if row["state"] not in TERMINAL and row["unique_key"] is not None]
    keys = Counter((row["kind"], row["unique_key"]) for row in alive)
    assert not keys or max(keys.values()) == 1, "two of one unique key"


def _queues_hold(before: Seen, now: Seen) -> None:
    for name, queue in now.queues.items():
        if name not in before.queues:
            continue
        mine = {job_id: row for job_id, row in now.jobs.items() if row["queue"] == name}
        if queue["paused_at"] is not None and queue["paused_at"] == before.queues[name]["paused_at"]:
            for job_id, row in mine.items():
                was = before.jobs.get(job_id)
                assert row["attempt"] == (was["attempt"] if was else 0), "begun in a paused queue"
        for limit, is_counted in ((queue["max_running"], False), (queue["max_running_per_key"], True)):
            if limit is not None:
                counted = _under_way(now, name, by_key=is_counted)
                counted_before = _under_way(before, name, by_key=is_counted)
                for key, count in counted.items():
                    # What was more before the limit was set goes on.
                    assert count <= max(limit, counted_before[key]), f"{count} under way of {name} {key or ''}"


def _under_way(seen: Seen, queue: str, *, by_key: bool) -> Counter[str | None]:
    rows = [row for row in seen.jobs.values() if row["queue"] == queue and row["state"] in ("dispatched", "running")]
    if by_key:
        return Counter(row["concurrency_key"] for row in rows if row["concurrency_key"] is not None)
    return Counter(None for _ in rows)


def _each_tick_has_its_job(now: Seen, gone: set[UUID]) -> None:
    made = [row["job_id"] for row in now.ticks]
    assert len(made) == len(set(made)), "one job for two ticks"
    scheduled = {
        job_id for job_id, row in now.jobs.items() if row["kind"] == "machine.tock" and row["retry_of"] is None
    }
    assert set(made) - gone == scheduled, "a tick without a job, or a job without a tick"
