"""docs/plans.md says what is so: its documents give the answers that stand below them, its table has every code."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from db.errors import Code
from db.plans.rules import SCHEMAS
from resolvers.ids import encode_id
from tests.server.support.sockets import socket_to
from tests.stories.conftest import Front, Story
from tests.stories.test_a_plan_from_draft_to_withdrawal import at, does, progress, queue, wait
from tests.support.drain import drain
from tests.support.plans import another_class

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "plans.md").read_text()
EXAMPLE = re.compile(r"```graphql\n(?P<document>\w+ (?P<name>\w+).*?)```\n+```json\n(?P<answer>.*?)```", re.DOTALL)
OFTEN = {"PROGRESS", "LOG"}
INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z")


def examples() -> dict[str, tuple[str, Any]]:
    """The documents of the guide by their names, each with the answer below it."""
    return {found["name"]: (found["document"], json.loads(found["answer"])) for found in EXAMPLE.finditer(GUIDE)}


def masked(value: Any) -> Any:
    """The same without what differs from one run to the next: ids, instants, and how often progress was told."""
    if isinstance(value, Mapping):
        return {name: name if name in {"id", "seq", "lastSeq"} else masked(each) for name, each in value.items()}
    if isinstance(value, list):
        return [masked(each) for each in value if not isinstance(each, dict) or each.get("type") not in OFTEN]
    return "an instant" if isinstance(value, str) and INSTANT.fullmatch(value) else value


async def watched(story: Story, document: str, job: str) -> list[Any]:
    """All that a stream of progress tells, while the job is done."""
    async with socket_to(story.server) as socket:
        await socket.init(story.teacher.token)
        await socket.subscribe("job", document, job=job)
        first = (await socket.receive())["payload"]["data"]["jobProgress"]
        await drain(story.world.database)
        return [first, *await progress(socket)]


async def told(story: Story, documents: Mapping[str, str]) -> dict[str, Any]:
    """What the guide's documents answer one after another: a plan is published, watched, opened and looked at."""
    teacher: Front = story.teacher
    answers: dict[str, Any] = {}
    await another_class(story.world, learners=2)
    pages = [encode_id("CourseItem", page) for page in story.world.pages[:2]]
    dates = {"opensAt": at(1), "dueAt": at(4), "closesAt": at(5)}
    given = {"course": story.course, "class": story.class_, "settings": {"page_ids": pages}, **dates}
    answers["Publish"] = await teacher.data(documents["Publish"], **given)
    created = answers["Publish"]["createPlan"]
    plan, job = created["plan"]["id"], created["job"]["id"]
    answers["Watch"] = await watched(story, documents["Watch"], job)
    answers["Reload"] = await teacher.data(documents["Reload"], plan=plan)
    answers["Resume"] = await watched(story, documents["Resume"], job)
    wait(story, 1.1)
    learner = await story.front_of(story.world.learners[0])
    (task,) = await queue(learner)
    await does(learner, "completeStep", stepId=task["steps"][0]["id"])
    answers["Change"] = await teacher.data(documents["Change"], plan=plan, settings={"page_ids": pages[:1]})
    bounds = {"course": story.course, "from": at(0), "to": at(7)}
    answers["View"] = await teacher.data(documents["View"], **bounds)
    return answers


async def test_the_documents_of_the_guide_give_the_answers_that_stand_below_them(story: Story) -> None:
    guide = examples()
    answers = await told(story, {name: document for name, (document, _) in guide.items()})
    assert {name: masked(answer) for name, answer in answers.items()} == {
        name: masked(answer) for name, (_, answer) in guide.items()
    }


async def test_the_settings_schemas_in_the_api_are_those_that_are_checked(story: Story) -> None:
    query = '{ __type(name: "PlanType") { enumValues { name description } } }'
    values = (await story.teacher.data(query))["__type"]["enumValues"]
    files = {path.stem: json.loads(path.read_text()) for path in (ROOT / "db/plans/rules/schemas").iterdir()}
    shown = {value["name"]: json.loads(value["description"].split("```json\n")[1].split("```")[0]) for value in values}
    assert shown == files == {type_.value: dict(schema) for type_, schema in SCHEMAS.items()}


def test_the_guide_explains_every_code_that_plans_refuse_with() -> None:
    sources = [path.read_text() for path in (ROOT / "db" / "plans").rglob("*.py")]
    used = {found for source in sources for found in re.findall(r"\bCode\.([A-Z_]+)", source)}
    explained = set(re.findall(r"^\| ([A-Z_]+) \|", GUIDE, re.MULTILINE))
    assert used <= explained
    assert explained <= {code.value for code in Code}
