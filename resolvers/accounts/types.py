"""Types of accounts: people, teams, tokens, and who did something."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from db.accounts.queries import API_TOKEN, TEAM, USER
from db.accounts.rules import Role
from db.reading import Entity
from resolvers.context import Info
from resolvers.fields import Node, Row, RowInterface, attr, enum_type, listed, node_id, related
from resolvers.paging import After, Connection, First, described

if TYPE_CHECKING:
    from resolvers.tasks.types import TaskCounts

enum_type(
    Role,
    name="Role",
    description="What somebody may do on the whole server. More follows from teams, courses and classes.",
    values={
        "ADMIN": "Everything.",
        "EDITOR": "See and edit every course, plan and project.",
        "MEMBER": "What concerns them: their tasks, teams, courses and classes.",
        "SERVICE": "A program, not a person.",
    },
)


@strawberry.interface(description="Who did it: a person, or the system (the timer, a worker).")
class Actor(RowInterface):
    """Whoever did something."""

    name: str = attr("For people.")


@strawberry.interface(description="Whose task it is: a person or a team.")
class Assignee(Node):
    """Whoever has a task."""

    name: str = attr("For people.")


@strawberry.type(description="The server itself: what no person did.")
class SystemActor(Row, Actor):
    """The system."""

    name: str = attr("Always `System`.")


@strawberry.type(description="A person, or with the role SERVICE a program.")
class User(Row, Assignee, Actor, Node):
    """A user."""

    id: strawberry.ID = node_id()
    name: str = attr("For people.")
    email: str | None = attr("Null where there is none, and where the viewer may not see it.")
    roles: list[Role] = attr("What they may do on the whole server; never empty.")
    is_active: bool = attr("Whether they may sign in and be given work.")
    teams: list["Team"] = attr("The teams they are in, by name, as far as the viewer may see them.")


@strawberry.type(description="People who share a queue of work.")
class Team(Row, Assignee, Node):
    """A team."""

    id: strawberry.ID = node_id()
    name: str = attr("For people.")
    admins: list[User] = attr("Who may give out the team's work, by name.")
    task_counts: Annotated["TaskCounts", strawberry.lazy("resolvers.tasks.types")] | None = attr(
        "How many tasks each tab of the team's queue has. Null for those who may not see the team."
    )

    @listed
    def members(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        search: Annotated[str | None, described("Part of a name, or of an address that the viewer may see.")] = None,
    ) -> Connection[User]:
        """Who is in it, by name. Empty for those who may not see the team."""
        return related(self, info)


@strawberry.type(
    description="What a program signs in with: `Authorization: Bearer <secret>`. "
    "The secret is shown once, when the token is made; only a hash of it is stored."
)
class ApiToken(Row, Node):
    """A token."""

    id: strawberry.ID = node_id()
    name: str = attr("What it is for, in its owner's words.")
    prefix: str = attr("How the secret begins: enough to tell one's tokens apart.")
    owner: User = attr("Whom it signs in.")
    roles: list[Role] = attr("What it may do at most: never more than its owner may.")
    created_at: datetime = attr("When it was made.")
    last_used_at: datetime | None = attr("When it was last used, to about a minute; null: never.")
    expires_at: datetime | None = attr("From when on it no longer works; null: it does not expire.")
    revoked_at: datetime | None = attr("When it was revoked; null: it was not.")


NODES: dict[str, Entity] = {"User": USER, "Team": TEAM, "ApiToken": API_TOKEN}
TYPES: list[type] = [SystemActor, User, Team, ApiToken]
