"""The pass that measures documents, against the plain meaning of what it counts."""

from typing import Any

import pytest
from graphql import build_schema, parse
from hypothesis import given
from hypothesis import strategies as st

from server.graphql.measure import DocumentMeasure, longest_list, measure

SCHEMA = build_schema(
    """
    type Query { a: Thing many(first: Int, after: String): Page short(first: Int = 7): Page union: Either leaf: String }
    type Thing { a: Thing many(first: Int): Page leaf: String }
    type Page { nodes: [Thing!]! pageInfo: Info }
    type Info { end: String }
    union Either = Thing | Info
    """
)


def measured(text: str) -> DocumentMeasure:
    return measure(SCHEMA, parse(text), default_first=20)


def cost(text: str, **variables: Any) -> int:
    return measured(text).operations[0].cost.value(variables)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ leaf }", 1),
        ("{ a { leaf a { leaf } } }", 4),
        ("{ many { nodes { leaf } } }", 1 + 20 * 2),
        ("{ many(first: 3) { nodes { leaf } pageInfo { end } } }", 1 + 3 * 4),
        ("{ short { nodes { leaf } } }", 1 + 7 * 2),
        ("{ many(first: 3) { nodes { many(first: 5) { nodes { leaf } } } } }", 1 + 3 * (1 + 1 + 5 * 2)),
        ("{ many(first: 0) { nodes { leaf } } }", 1),
        ("{ many(first: -5) { nodes { leaf } } }", 1),
        ("{ ...f ...f } fragment f on Query { many(first: 2) { nodes { leaf } } }", 2 * 5),
        ("{ union { ... on Thing { many(first: 2) { nodes { leaf } } } ... on Info { end } __typename } }", 1 + 5 + 2),
        ("{ unknown { leaf } }", 2),
        ("{ a { ...loop } } fragment loop on Thing { leaf a { ...loop } }", 1 + 2),
        ("{ ...missing leaf }", 1),
        ("{ __typename }", 1),
    ],
)
def test_cost_counts_each_field_as_often_as_the_first_above_it(text: str, expected: int) -> None:
    assert cost(text) == expected


@pytest.mark.parametrize(
    ("variables", "times"),
    [
        ({"n": 4}, 4),
        ({}, 9),
        ({"n": None}, 9),
        ({"n": "4"}, 9),
        ({"n": True}, 9),
        ({"n": -1}, 0),
        ({"n": 2.0}, 2),
        ({"n": 2.5}, 9),
    ],
)
def test_a_variable_counts_with_its_value_or_its_default(variables: dict[str, Any], times: int) -> None:
    inner = "fragment f on Thing { many(first: $n) { nodes { leaf } } }"
    text = "query($n: Int = 9) { many(first: $n) { nodes { leaf ...f } } } " + inner
    assert cost(text, **variables) == 1 + times * (2 + 1 + times * 2)


def test_depth_is_that_of_the_longest_path_through_fragments() -> None:
    text = "{ leaf a { ...f } } fragment f on Thing { a { ... { a { leaf } } } }"
    assert measured(text).operations[0].depth == 4
    assert measured("{ __schema { types { fields { type { name } } } } }").operations[0].depth == 1


def test_counts_are_of_the_text() -> None:
    found = measured(
        "query Q($x: Int @a) @b { x: leaf @c ...f @d ...f } fragment f on Query @e { y: leaf ... @g { z: leaf } }"
    )
    assert (found.aliases, found.directives) == (3, 6)
    assert found.operations[0].root_fields == ("leaf", "leaf", "leaf")
    assert measured("{ leaf leaf ...f } fragment f on Query { leaf }").operations[0].root_fields == ("leaf",)
    assert measured('{ many(after: "x", first: [1 [2 3 4 5]]) { nodes { leaf } } }').longest_list == 4


def test_each_operation_is_measured_by_itself() -> None:
    first, second = measured("query A { leaf } query B { a { leaf } }").operations
    assert (first.cost.value({}), second.cost.value({})) == (1, 2)


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
    max_leaves=30,
)


@given(json_values)
def test_the_longest_list_is_found_wherever_it_is(value: Any) -> None:
    def plainly(item: Any) -> int:
        if isinstance(item, list):
            return max([len(item), *map(plainly, item)])
        return max(map(plainly, item.values()), default=0) if isinstance(item, dict) else 0

    assert longest_list(value) == plainly(value)


selections = st.recursive(
    st.just("leaf"),
    lambda inner: (
        st.builds(lambda first, body: f"many(first: {first}) {{ nodes {{ {body} }} }}", st.integers(0, 5), inner)
        | st.builds(lambda body: f"a {{ {body} }}", inner)
        | st.builds(lambda one, two: f"{one} b: leaf {two}", inner, inner)
        | st.builds(lambda body: f"... {{ {body} }}", inner)
    ),
    max_leaves=12,
)


@given(selections)
def test_a_variable_costs_what_its_value_written_out_costs(body: str) -> None:
    inlined = "{ a { " + body + " } }"
    spread = "{ a { ...f } } fragment f on Thing { " + body + " }"
    with_variable = "query($v3: Int) { a { " + body.replace("first: 3", "first: $v3") + " } }"
    assert cost(inlined) == cost(spread) == cost(with_variable, v3=3)
