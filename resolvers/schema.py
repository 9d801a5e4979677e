"""The whole schema, put together from what each domain offers, and its text."""

from typing import Annotated, Any

import strawberry
from graphql import lexicographic_sort_schema, print_schema
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import create_type

from db.errors import Code, refuse
from db.reading import Entity
from resolvers.accounts import mutations as accounts_mutations
from resolvers.accounts import queries as accounts_queries
from resolvers.accounts import types as accounts_types
from resolvers.context import Info
from resolvers.courses import mutations as courses_mutations
from resolvers.courses import queries as courses_queries
from resolvers.courses import types as courses_types
from resolvers.fields import MutationPayload, Node, query
from resolvers.ids import decode_any
from resolvers.ledger import mutations as ledger_mutations
from resolvers.ledger import queries as ledger_queries
from resolvers.ledger import subscriptions as ledger_subscriptions
from resolvers.ledger import types as ledger_types
from resolvers.paging import described
from resolvers.plans import mutations as plans_mutations
from resolvers.plans import queries as plans_queries
from resolvers.plans import subscriptions as plans_subscriptions
from resolvers.plans import types as plans_types
from resolvers.scalars import SCALARS
from resolvers.selection import wanted
from resolvers.tasks import mutations as tasks_mutations
from resolvers.tasks import queries as tasks_queries
from resolvers.tasks import subscriptions as tasks_subscriptions
from resolvers.tasks import types as tasks_types

MAX_NODES = 100

NODES: dict[str, Entity] = {
    **accounts_types.NODES,
    **ledger_types.NODES,
    **courses_types.NODES,
    **tasks_types.NODES,
    **plans_types.NODES,
}


@query
async def node(info: Info, id: Annotated[strawberry.ID, described("The opaque id of anything.")]) -> Node | None:
    """Anything by its id. Null for an id that is malformed or unknown, and for what the viewer may not see."""
    found: Node | None = (await _load(info, [id]))[0]
    return found


@query
async def nodes(
    info: Info, ids: Annotated[list[strawberry.ID], described("At most 100 opaque ids.")]
) -> list[Node | None]:
    """Several things by their ids, in the order asked; null in the place of each that `node` would not find."""
    if len(ids) > MAX_NODES:
        raise refuse(Code.BAD_USER_INPUT, f"`ids` takes at most {MAX_NODES} ids; these are {len(ids)}.", "ids")
    return await _load(info, ids)


async def _load(info: Info, ids: list[strawberry.ID]) -> list[Any]:
    tree = wanted(info)
    decoded = [decode_any(each) for each in ids]
    rows: dict[tuple[str, Any], Any] = {}
    for type_name in {each[0] for each in decoded if each is not None}:
        entity = NODES.get(type_name)
        if entity is not None:
            keys = [each[1] for each in decoded if each is not None and each[0] == type_name]
            found = await info.context.reading.by_ids(entity, tree, keys)
            rows.update({(type_name, key): row for key, row in found.items()})
    return [rows.get(each) if each is not None else None for each in decoded]


Viewer = create_type(
    "Viewer",
    [*accounts_queries.VIEWER_FIELDS, *courses_queries.VIEWER_FIELDS, *tasks_queries.VIEWER_FIELDS],
    description="Whoever is signed in, and what is theirs.",
)


async def _viewer(info: Info) -> Any:
    return Viewer() if info.context.signed_in else None


viewer = strawberry.field(
    name="viewer",
    resolver=_viewer,
    graphql_type=Viewer,
    description="Whoever is signed in. UNAUTHENTICATED for anybody else.",
)
viewer.python_name = "viewer"

Query = create_type(
    "Query",
    [
        viewer,
        node,
        nodes,
        *accounts_queries.QUERIES,
        *ledger_queries.QUERIES,
        *courses_queries.QUERIES,
        *tasks_queries.QUERIES,
        *plans_queries.QUERIES,
    ],
    description="What can be read. A field that cannot answer is null, with an error at its path; others still answer.",
)

_MUTATIONS = [
    *accounts_mutations.MUTATIONS,
    *ledger_mutations.MUTATIONS,
    *courses_mutations.MUTATIONS,
    *tasks_mutations.MUTATIONS,
    *plans_mutations.MUTATIONS,
]
Mutation = (
    create_type(
        "Mutation",
        _MUTATIONS,
        description="What can be changed. An expected no is data: `userErrors` says why, and nothing was written.",
    )
    if _MUTATIONS
    else None
)

_SUBSCRIPTIONS = [
    *ledger_subscriptions.SUBSCRIPTIONS,
    *tasks_subscriptions.SUBSCRIPTIONS,
    *plans_subscriptions.SUBSCRIPTIONS,
]
Subscription = (
    create_type(
        "Subscription",
        _SUBSCRIPTIONS,
        description="Streams: over graphql-transport-ws, graphql-sse and multipart HTTP alike. "
        "`complete` without an error means that there will be no more.",
    )
    if _SUBSCRIPTIONS
    else None
)

schema = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    types=[
        Node,
        MutationPayload,
        *accounts_types.TYPES,
        *ledger_types.TYPES,
        *courses_types.TYPES,
        *tasks_types.TYPES,
        *plans_types.TYPES,
    ],
    config=StrawberryConfig(scalar_map=SCALARS),
)


def schema_text() -> str:
    """The schema as text, sorted, so that two exports differ only where the API does."""
    return print_schema(lexicographic_sort_schema(schema._schema)) + "\n"  # noqa: SLF001 - Strawberry has no other way
