"""The streams of ledger."""

from typing import Any

from resolvers.ledger.subscriptions.console import jobs
from resolvers.ledger.subscriptions.progress import job_progress

SUBSCRIPTIONS: list[Any] = [job_progress, jobs]
