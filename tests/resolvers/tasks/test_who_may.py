"""Every mutation of tasks for every caller: who may, who may not, who does not even see; and a "no" changes nothing."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import pytest

from db.accounts.rules import Viewer
from tests.support.api import Api, id_of
from tests.support.tasks import Desk

Input: TypeAlias = dict[str, Any]
# What is prepared for one caller: what the mutation is asked with.
Prepare: TypeAlias = Callable[[Desk], Awaitable[Input]]
CALLERS = ("boss", "editor", "lead", "ann", "ben", "stranger")


def task_id(key: UUID) -> str:
    return id_of("WorkTask", key)


def user_id(viewer: Viewer) -> str:
    return id_of("User", viewer.user_id)


def anns(**more: Any) -> Prepare:
    """With a task of Ann's that the boss gave her."""

    async def prepare(desk: Desk) -> Input:
        return {"taskId": task_id(await desk.create(desk.ann)), **more}

    return prepare


def teams(**more: Any) -> Prepare:
    """With a task of the team's."""

    async def prepare(desk: Desk) -> Input:
        return {"taskId": task_id(await desk.create(desk.team)), **more}

    return prepare


async def anns_on_hold(desk: Desk) -> Input:
    key = await desk.create(desk.ann)
    await desk.place(key)
    return {"taskId": task_id(key)}


async def below_anns(desk: Desk) -> Input:
    parent = await desk.create(desk.ann)
    return {
        "type": "general",
        "title": "Below",
        "assigneeId": user_id(desk.ben),
        "parentId": task_id(parent),
    }


async def for_ben(desk: Desk) -> Input:
    return {"type": "general", "title": "New", "assigneeId": user_id(desk.ben)}


async def for_the_stranger(desk: Desk) -> Input:
    return {"type": "general", "title": "New", "assigneeId": user_id(desk.stranger)}


async def to_the_stranger(desk: Desk) -> Input:
    return {"taskId": task_id(await desk.create(desk.ann)), "assigneeId": user_id(desk.stranger)}


async def to_ben(desk: Desk) -> Input:
    return {"taskId": task_id(await desk.create(desk.ann)), "assigneeId": user_id(desk.ben)}


async def teams_to_ben(desk: Desk) -> Input:
    return {"taskId": task_id(await desk.create(desk.team)), "assigneeId": user_id(desk.ben)}


async def a_type(desk: Desk) -> Input:
    return {"name": f"kind_{uuid4().hex}", "label": "Kind"}


UNSEEN = {"ben": "NOT_FOUND", "stranger": "NOT_FOUND"}
NO_STRANGER = {"stranger": "NOT_FOUND"}
NO_EDITOR = {"editor": "FORBIDDEN"}
MEMBERS = {"ann": "FORBIDDEN", "ben": "FORBIDDEN"}
ALL_BUT_GIVERS = {**MEMBERS, "stranger": "FORBIDDEN"}

# The mutation, what it is asked with, where its refusals point, and the callers who are refused; all others may.
TABLE: list[tuple[str, str, Prepare, str, Mapping[str, str]]] = [
    ("a person's", "startTask", anns(), "taskId", {**NO_EDITOR, **UNSEEN}),
    ("a team's", "startTask", teams(), "taskId", {**NO_EDITOR, **NO_STRANGER}),
    ("a person's", "completeTask", anns(instructions="Done"), "taskId", {**NO_EDITOR, **UNSEEN}),
    ("a team's", "completeTask", teams(), "taskId", {**NO_EDITOR, **NO_STRANGER}),
    ("a person's", "cancelTask", anns(reason="No"), "taskId", UNSEEN),
    ("a team's", "cancelTask", teams(), "taskId", NO_STRANGER),
    ("a person's", "placeHold", anns(durationDays=30), "taskId", {**NO_EDITOR, **UNSEEN}),
    ("a team's", "placeHold", teams(durationDays=30), "taskId", {**NO_EDITOR, **NO_STRANGER}),
    ("a person's", "endHold", anns_on_hold, "taskId", {**NO_EDITOR, **UNSEEN}),
    ("a person's note", "updateTask", anns(instructions="Note"), "taskId", UNSEEN),
    ("a person's title", "updateTask", anns(title="Other"), "", {"ann": "FORBIDDEN at title", **UNSEEN}),
    ("a team's title", "updateTask", teams(title="Other"), "title", {**MEMBERS, "stranger": "NOT_FOUND at taskId"}),
    ("at the root", "createTask", for_ben, "assigneeId", ALL_BUT_GIVERS),
    ("outside the team", "createTask", for_the_stranger, "assigneeId", {"lead": "FORBIDDEN", **ALL_BUT_GIVERS}),
    ("below", "createTask", below_anns, "parentId", {"ann": "FORBIDDEN", **UNSEEN}),
    ("a team's", "assignTask", teams_to_ben, "taskId", {**MEMBERS, "stranger": "NOT_FOUND"}),
    ("a person's", "reassignTask", to_ben, "taskId", {"ann": "FORBIDDEN", **UNSEEN}),
    ("outside the team", "reassignTask", to_the_stranger, "", {
        "lead": "FORBIDDEN at assigneeId", "ann": "FORBIDDEN at taskId", **UNSEEN,
    }),
    ("a type", "upsertTaskType", a_type, "", {caller: "FORBIDDEN at " for caller in CALLERS if caller != "boss"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("mutation", "prepare", "path", "refused"),
    [row[1:] for row in TABLE],
    ids=[f"{row[1]}, {row[0]}" for row in TABLE],
)
async def test_a_mutation_is_for_those_it_is_for(
    desk: Desk, mutation: str, prepare: Prepare, path: str, refused: Mapping[str, str]
) -> None:
    for caller in CALLERS:
        asked = await prepare(desk)
        api = Api(desk.database, getattr(desk, caller))
        before = await desk.stored()
        if caller not in refused:
            await api.does(mutation, asked, "__typename")
            assert await desk.stored() != before, caller
            continue
        code, _, own = refused[caller].partition(" at ")
        where = own or path or ("taskId" if code == "NOT_FOUND" else "")
        expected = (code, f"input.{where}" if where else "")
        assert await api.refused(mutation, asked) == [expected], caller
        assert await desk.stored() == before, caller


@pytest.mark.parametrize("mutation", sorted({row[1] for row in TABLE}))
async def test_nobody_does_anything_without_signing_in(desk: Desk, mutation: str) -> None:
    asked = next(prepare for _, name, prepare, _, _ in TABLE if name == mutation)
    given = await asked(desk)
    before = await desk.stored()
    input_type = mutation[0].upper() + mutation[1:] + "Input!"
    body = await Api(desk.database, None).ask(
        f"mutation ($input: {input_type}) {{ {mutation}(input: $input) {{ userErrors {{ code }} }} }}", input=given
    )
    assert body["data"] == {mutation: None}
    assert [error["extensions"]["code"] for error in body["errors"]] == ["UNAUTHENTICATED"]
    assert await desk.stored() == before
