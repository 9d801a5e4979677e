"""The application as it is deployed: the real schema behind the edge."""

from graphql import get_introspection_query

from resolvers.schema import schema
from server.limits import BULK_MUTATIONS
from tests.server.support.serving import serving


async def test_the_real_schema_can_be_explored_and_asks_who_one_is(database_url: str, redis_url: str) -> None:
    async with serving(database_url, redis_url, schema=schema) as server:
        explored = await server.post(get_introspection_query(input_value_deprecation=True, type_depth=9))
        assert explored.status_code == 200, explored.text[:500]
        assert explored.json()["data"]["__schema"]["mutationType"]["name"] == "Mutation"
        anonymous = await server.post("{ viewer { user { name } } }")
        assert anonymous.status_code == 200
        assert anonymous.json()["data"] is None
        assert [error["extensions"]["code"] for error in anonymous.json()["errors"]] == ["UNAUTHENTICATED"]


async def test_a_signed_in_viewer_reads_themselves(database_url: str, redis_url: str, token: str) -> None:
    async with serving(database_url, redis_url, schema=schema) as server:
        answer = await server.post("{ viewer { user { name } roles } }", token=token)
    assert answer.json()["data"] == {"viewer": {"user": {"name": "Mia Member"}, "roles": ["MEMBER"]}}


def test_the_bulk_mutations_are_mutations_of_the_schema() -> None:
    mutation = schema._schema.mutation_type
    assert mutation is not None
    # The refusal of a large body names them: a reader looks for these names in the documentation.
    assert {"importCourse", "enroll"} <= BULK_MUTATIONS <= mutation.fields.keys()
