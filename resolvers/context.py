"""What every resolver is handed: who asks, and the ways to what is stored. No session: each load opens its own."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import strawberry

from db.accounts.rules import Viewer
from db.errors import Unauthenticated
from db.reading import Reading
from db.session import Database
from resolvers.selection import Slots

if TYPE_CHECKING:
    from db.feed import Feed


@dataclass
class Context:
    """One operation's context. `viewer` is None for somebody who is not signed in."""

    database: Database
    feed: "Feed"
    request_id: str
    viewer: Viewer | None = None
    # A stream that is resumed over HTTP brings its cursor in a header; it counts as the `after` argument.
    last_event_id: int | None = None
    extensions: dict[str, Any] = field(default_factory=dict)
    slots: Slots = field(default_factory=Slots)

    @property
    def signed_in(self) -> Viewer:
        """The viewer. Raises Unauthenticated where there is none."""
        if self.viewer is None:
            raise Unauthenticated("Sign in: send `Authorization: Bearer <token>`.")
        return self.viewer

    @cached_property
    def reading(self) -> Reading:
        """This viewer's reads. Raises Unauthenticated where there is none."""
        return Reading(self.database.reader, self.signed_in)

    @property
    def reading_now(self) -> Reading:
        """The same for a stream, which outlives the moment of signing in: with the viewer's roles of now."""
        return Reading(self.database.reader, self.signed_in)


Info = strawberry.Info[Context, None]
