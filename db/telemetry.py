"""Logs as JSON lines, one event a line, with the ids that tie a request, a job and an attempt together."""

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from db import tracing

SECRET_NAMES = frozenset({"authorization", "token", "secret", "password", "key", "credentials", "connection_init"})


def configure_logging(*, level: str = "INFO", json: bool = True) -> None:
    """Set structlog and the standard library's logging up alike. Called once at the start of a process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        name_the_span,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def name_the_span(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add `trace_id` and `span_id`, where traces are on: from a line of the log to its trace, and back."""
    event.update(tracing.ids())
    return event


def hide_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace the value of every name that may hold a secret: what is never written can never leak."""
    for name in event:
        if name.lower() in SECRET_NAMES:
            event[name] = "***"
    return event


def get_logger(name: str) -> Any:
    """The logger of a module: `log = get_logger(__name__)`, then `log.info("job.claimed", job_id=…)`."""
    return structlog.get_logger(name)
