"""The API's text: exported, sorted, and described for whoever reads it in GraphiQL."""

from pathlib import Path

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLScalarType,
    build_schema,
)

from resolvers.schema import schema_text

ROOT = Path(__file__).parents[2]


def test_the_exported_schema_is_the_one_that_is_served() -> None:
    assert (ROOT / "schema.graphql").read_text() == schema_text(), "run `make schema`"


def test_everything_is_described() -> None:
    silent = []
    for name, type_ in build_schema(schema_text()).type_map.items():
        if name.startswith("__") or name in {"String", "Int", "Float", "Boolean", "ID"}:
            continue
        if not type_.description:
            silent.append(name)
        if isinstance(type_, GraphQLEnumType):
            silent += [f"{name}.{value}" for value, it in type_.values.items() if not it.description]
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for field_name, field in type_.fields.items():
                if not field.description:
                    silent.append(f"{name}.{field_name}")
                arguments = getattr(field, "args", {})
                silent += [f"{name}.{field_name}({each})" for each, it in arguments.items() if not it.description]
    assert silent == []


def test_scalars_say_what_they_are() -> None:
    scalars = [each for each in build_schema(schema_text()).type_map.values() if isinstance(each, GraphQLScalarType)]
    own = [each for each in scalars if each.name in {"DateTime", "JSON"}]
    assert [each.name for each in own if not each.specified_by_url] == []
    assert len(own) == 2
