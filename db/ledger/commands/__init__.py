"""What is written in the ledger. None of it commits."""

from db.ledger.commands.asking import (
    Asked,
    CancelOutcome,
    Enqueued,
    cancel_others,
    enqueue,
    enqueue_again,
    enqueue_many,
    request_cancel,
)
from db.ledger.commands.dispatching import (
    Dispatched,
    dispatch,
    dispatch_limited,
    hand_back,
    promote,
    recall,
    spare,
    unclaimed,
)
from db.ledger.commands.fleet import Answer, Held, WorkerCard, beat, keep_house, retire, standing
from db.ledger.commands.queues import limit_queue, limits_of, pause_queue, resume_queue
from db.ledger.commands.running import Claimed, Ending, Line, Ticket, claim, end_attempts, hold, note, note_many
from db.ledger.commands.sweeping import Stranded, deaf, lost, overdue

__all__ = [
    "Answer",
    "Asked",
    "CancelOutcome",
    "Claimed",
    "Dispatched",
    "Ending",
    "Enqueued",
    "Held",
    "Line",
    "Stranded",
    "Ticket",
    "WorkerCard",
    "beat",
    "cancel_others",
    "claim",
    "deaf",
    "dispatch",
    "dispatch_limited",
    "end_attempts",
    "enqueue",
    "enqueue_again",
    "enqueue_many",
    "hand_back",
    "hold",
    "keep_house",
    "limit_queue",
    "limits_of",
    "lost",
    "note",
    "note_many",
    "overdue",
    "pause_queue",
    "promote",
    "recall",
    "request_cancel",
    "resume_queue",
    "retire",
    "spare",
    "standing",
    "unclaimed",
]
