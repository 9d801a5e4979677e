"""What a job may become, and what the end of an attempt means."""

import pytest

from db.errors import Code, Refused, refuse
from db.ledger.rules import (
    JOB,
    LIVE,
    TERMINAL,
    AttemptOutcome,
    Cancelling,
    JobError,
    JobState,
    JobStatus,
    decide_cancel,
    decide_crash,
    decide_fault,
    decide_refusal,
    decide_release,
    decide_retry,
    decide_snooze,
    decide_stop,
    percent,
    states_of,
    status_of,
    wait_before_retry,
)

S = JobState
FAULT = JobError("INTERNAL", "Something went wrong (RuntimeError).")


def test_four_states_are_final_and_nothing_follows_them() -> None:
    assert frozenset({S.COMPLETED, S.FAILED, S.QUARANTINED, S.CANCELLED}) == TERMINAL
    assert not any(before in TERMINAL for before, _ in JOB.edges)


def test_people_see_five_statuses() -> None:
    assert {state: status_of(state) for state in S} == {
        S.SCHEDULED: JobStatus.QUEUED,
        S.QUEUED: JobStatus.QUEUED,
        S.DISPATCHED: JobStatus.QUEUED,
        S.RUNNING: JobStatus.RUNNING,
        S.COMPLETED: JobStatus.COMPLETED,
        S.FAILED: JobStatus.FAILED,
        S.QUARANTINED: JobStatus.FAILED,
        S.CANCELLED: JobStatus.CANCELLED,
    }
    assert states_of(JobStatus.FAILED) == {S.FAILED, S.QUARANTINED}


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 2), (2, 4), (3, 8), (4, 16), (8, 256), (9, 512), (10, 600), (50, 600)]
)
def test_waits_double_from_2_seconds_to_10_minutes(failures: int, seconds: float) -> None:
    assert wait_before_retry(failures, 0.5) == pytest.approx(seconds)


def test_waits_are_spread_by_a_fifth_either_way() -> None:
    assert wait_before_retry(1, 0.0) == pytest.approx(1.6)
    assert wait_before_retry(1, 0.999999) == pytest.approx(2.4, abs=1e-5)


def test_a_fault_is_tried_again_until_the_attempts_are_used_up() -> None:
    fourth = decide_fault(error=FAULT, failures=3, max_attempts=5, is_cancel_requested=False, jitter=0.5)
    assert (fourth.state, fourth.outcome, fourth.wait_seconds, fourth.failures) == (
        S.SCHEDULED,
        AttemptOutcome.RETRY,
        16.0,
        1,
    )
    assert fourth.message == "Something went wrong (RuntimeError). Next attempt in 16 s."
    assert (fourth.error, fourth.job_error) == (FAULT, None)
    fifth = decide_fault(error=FAULT, failures=4, max_attempts=5, is_cancel_requested=False, jitter=0.5)
    assert (fifth.state, fifth.outcome, fifth.wait_seconds) == (S.FAILED, AttemptOutcome.FAILED, None)
    assert fifth.message == "Failed for good after 5 attempts: Something went wrong (RuntimeError)."
    assert fifth.job_error == FAULT


def test_a_fault_of_a_job_that_was_asked_to_stop_ends_it() -> None:
    verdict = decide_fault(error=FAULT, failures=0, max_attempts=5, is_cancel_requested=True, jitter=0.5)
    assert (verdict.state, verdict.outcome, verdict.error, verdict.job_error) == (
        S.CANCELLED,
        AttemptOutcome.CANCELLED,
        FAULT,
        None,
    )


def test_a_refusal_fails_at_once_with_all_of_its_reasons() -> None:
    refusal = Refused(
        *refuse(Code.EMPTY_TASKS, "No step for 2 learners.", learners=2).problems,
        *refuse(Code.COURSE_ENDED, "The course is over.").problems,
    )
    verdict = decide_refusal(error=JobError.from_refusal(refusal))
    assert (verdict.state, verdict.outcome) == (S.FAILED, AttemptOutcome.FAILED)
    assert verdict.job_error == JobError("EMPTY_TASKS", "No step for 2 learners.; The course is over.", {"learners": 2})


def test_a_snooze_costs_nothing() -> None:
    verdict = decide_snooze(seconds=60, reason="Waits for the store.", is_cancel_requested=False)
    assert (verdict.state, verdict.outcome, verdict.wait_seconds) == (S.SCHEDULED, AttemptOutcome.SNOOZED, 60)
    assert (verdict.failures, verdict.crashes, verdict.interruptions) == (0, 0, 0)
    assert decide_snooze(seconds=60, reason=None, is_cancel_requested=True).state is S.CANCELLED


@pytest.mark.parametrize(
    ("crashes_before", "state"), [(0, S.QUEUED), (1, S.QUEUED), (2, S.QUARANTINED), (3, S.QUARANTINED)]
)
def test_the_third_crash_quarantines(crashes_before: int, state: JobState) -> None:
    verdict = decide_crash(crash_count=crashes_before, is_cancel_requested=False)
    assert (verdict.state, verdict.outcome, verdict.crashes, verdict.failures) == (state, AttemptOutcome.LOST, 1, 0)
    assert (verdict.job_error is not None) == (state is S.QUARANTINED)


def test_a_crash_or_a_shutdown_ends_a_job_that_was_asked_to_stop() -> None:
    assert decide_crash(crash_count=0, is_cancel_requested=True).state is S.CANCELLED
    assert decide_release(is_cancel_requested=True).state is S.CANCELLED


def test_a_shutdown_counts_an_interruption_and_no_failure() -> None:
    verdict = decide_release(is_cancel_requested=False)
    assert (verdict.state, verdict.outcome) == (S.QUEUED, AttemptOutcome.INTERRUPTED)
    assert (verdict.failures, verdict.crashes, verdict.interruptions) == (0, 0, 1)


@pytest.mark.parametrize("state", [S.SCHEDULED, S.QUEUED, S.DISPATCHED])
def test_what_has_not_begun_is_cancelled_at_once(state: JobState) -> None:
    assert decide_cancel(state=state, is_cancel_requested=False) is Cancelling.AT_ONCE


def test_what_runs_is_asked_once() -> None:
    assert decide_cancel(state=S.RUNNING, is_cancel_requested=False) is Cancelling.ASKED
    assert decide_cancel(state=S.RUNNING, is_cancel_requested=True) is Cancelling.ASKED_BEFORE


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_what_has_ended_cannot_be_cancelled(state: JobState) -> None:
    with pytest.raises(Refused) as refused:
        decide_cancel(state=state, is_cancel_requested=False)
    assert [problem.code for problem in refused.value.problems] == [Code.JOB_NOT_CANCELLABLE]


@pytest.mark.parametrize("state", [S.FAILED, S.QUARANTINED, S.CANCELLED])
def test_what_failed_or_was_cancelled_can_be_tried_again_once_at_a_time(state: JobState) -> None:
    decide_retry(state=state, has_live_successor=False)
    with pytest.raises(Refused, match="tried again already"):
        decide_retry(state=state, has_live_successor=True)


@pytest.mark.parametrize("state", [*sorted(LIVE), S.COMPLETED])
def test_nothing_else_can_be_tried_again(state: JobState) -> None:
    with pytest.raises(Refused) as refused:
        decide_retry(state=state, has_live_successor=False)
    assert [problem.code for problem in refused.value.problems] == [Code.JOB_NOT_RETRYABLE]


def test_a_handler_that_stops_gives_the_reason() -> None:
    assert decide_stop(reason="A newer request.").message == "A newer request."
    assert decide_stop().message == "Cancelled."


@pytest.mark.parametrize(
    ("done", "total", "before", "expected"),
    [
        (0, 10, 0, 0),
        (5, 10, 0, 50),
        (10, 10, 0, 99),
        (3, 10, 50, 50),
        (1, 0, 7, 7),
        (1, None, 7, 7),
        (20, 10, 0, 99),
        (-5, 10, 0, 0),
    ],
)
def test_progress_never_goes_back_and_is_full_only_at_the_end(
    done: int, total: int | None, before: int, expected: int
) -> None:
    assert percent(done=done, total=total, before=before) == expected
