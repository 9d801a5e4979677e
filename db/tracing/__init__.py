"""Traces: a request, the jobs that it asked for, and each attempt at them, as one tree of spans.

Off unless the environment names where they go (`configuration`): then nothing is recorded, nothing is imported and no
thread runs. The rest of the code knows this interface alone. OpenTelemetry is known to `exporting` only.
"""

from db.tracing.configuration import start, stop
from db.tracing.recording import NOTHING, Span
from db.tracing.spans import asked, asking, attempted, attempting, carried, ids, served, serving

__all__ = [
    "NOTHING",
    "Span",
    "asked",
    "asking",
    "attempted",
    "attempting",
    "carried",
    "ids",
    "served",
    "serving",
    "start",
    "stop",
]
