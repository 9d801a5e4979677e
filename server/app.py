"""The application that `serve` runs."""

from starlette.applications import Starlette

from resolvers.schema import schema
from server.lifespan import Settings
from server.routes import application


def create_app() -> Starlette:
    """The application over Holdfast's schema, with the settings of the environment.

    Raises WrongSettingError where a setting does not fit.
    """
    return application(Settings(), schema)
