"""The application that `serve` runs."""

from starlette.applications import Starlette

from db import tracing
from db.telemetry import configure_logging
from resolvers.schema import schema
from server.lifespan import Settings
from server.routes import application


def create_app() -> Starlette:
    """The application over Holdfast's schema, with the settings of the environment; and the process's log and traces.

    Raises SetupError where a setting does not fit.
    """
    settings = Settings()
    configure_logging(level=settings.edge.log_level)
    tracing.start("holdfast-server")
    return application(settings, schema)
