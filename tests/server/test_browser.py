"""GraphiQL in a real browser: offline, and with a publication watched live, over reloads and by late comers.

Real server, worker and Chromium. What the pages may load and log is asserted at the end of every test (assert_kept_to).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.server.browser.deployment import Deployment, deployment
from tests.server.browser.driver import Driver, Page, driver, missing
from tests.support.servers import Servers

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

# The width in pixels of some fifteen letters of an event.
LEGIBLE = 100
OVER = "it.data.jobProgress.status === 'COMPLETED'"
FIND_JOB = "query Plan($id: ID!) { plan(id: $id) { title state publishJob { id status lastSeq } } }"


@pytest.fixture(scope="module")
def holdfast(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A server with the demo data; no worker yet."""
    directory = tmp_path_factory.mktemp("holdfast")
    with (
        servers.fresh_database() as database_url,
        deployment(database_url=database_url, redis_url=servers.redis_url, directory=directory) as running,
    ):
        yield running


@pytest.fixture
def browser(holdfast: Deployment, tmp_path: Path) -> Iterator[Driver]:
    """Chromium; looked over at the end."""
    with driver(holdfast.url, directory=tmp_path) as running:
        yield running


def graphiql(browser: Driver, holdfast: Deployment, name: str, *, of: str = "first") -> Page:
    """A tab with GraphiQL, signed in as the demo teacher."""
    page = browser.page(name, f"{holdfast.url}/graphiql", browser=of)
    page.sign_in(holdfast.tokens["teacher"])
    return page


def publish(page: Page, plan_id: str) -> str:
    """Publish a plan by the tab that GraphiQL starts with; the id of its job."""
    answer = page.run(tab="PublishPlan", variables={"input": {"planId": plan_id}}, where="it.data.publishPlan")
    payload = answer["data"]["publishPlan"]
    assert payload["userErrors"] == []
    assert (payload["plan"]["state"], payload["job"]["status"]) == ("PUBLISHING", "QUEUED")
    return str(payload["job"]["id"])


def watch(page: Page, job_id: str, *, after: int | None = None) -> Any:
    """Start jobProgress by the tab that GraphiQL starts with; the first event that the result pane shows."""
    page.start(tab="JobProgress", variables={"jobId": job_id, "after": after})
    return page.result("it.data.jobProgress")["data"]["jobProgress"]


@asynccontextmanager
async def held_up(holdfast: Deployment) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A worker that begins every publication and ends none: no task can be written, until what this gives is called."""
    connection = await asyncpg.connect(holdfast.environment["DATABASE_URL"].replace("+asyncpg", ""))
    try:
        await connection.execute("BEGIN; LOCK TABLE tasks IN SHARE MODE")
        with holdfast.worker():

            async def let_go() -> None:
                await connection.execute("COMMIT")

            yield let_go
    finally:
        await connection.close()


def assert_gapless(lines: list[list[Any]], *, after: int) -> None:
    """Every event after the one given, in order, without gap or repeat, to the last; snapshots aside."""
    events = [(seq, kind) for seq, kind in lines if kind != "SNAPSHOT"]
    assert [seq for seq, _ in events] == list(range(after + 1, after + 1 + len(events)))
    assert events[-1][1] == "STATUS"


def test_a_typed_query_is_answered_with_data(browser: Driver, holdfast: Deployment) -> None:
    page = browser.page("one", f"{holdfast.url}/graphiql")
    assert page.do("tabs") == ["Viewer", "PublishPlan", "JobProgress"]

    refused = page.run(query="{ viewer { user { name } } }")
    assert refused["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"

    who = page.sign_in(f"Bearer {holdfast.tokens['teacher']}")
    answer = page.run(query="{ viewer { user { name } roles } }", where="it.data?.viewer")
    viewer = answer["data"]["viewer"]
    assert who == " · ".join([viewer["user"]["name"], *viewer["roles"]])


def test_the_page_keeps_to_the_schema_the_system_and_the_window(browser: Driver, holdfast: Deployment) -> None:
    page = browser.page("one", f"{holdfast.url}/graphiql")
    assert page.sign_in("hf_wrong").startswith("The token is wrong")
    assert page.do("identity") == {"state": "refused", "isWhole": True}
    page.sign_in(holdfast.tokens["teacher"])
    assert page.do("identity") == {"state": "known", "isWhole": True}

    # What the examples leave to be filled in is a value, and never a property.
    page.do("tab", title="PublishPlan")
    assert page.do("variable_problems", type="PublishPlanInput") == []
    page.do("write", variables={"input": {"planId": ""}})
    assert page.do("variable_problems", type="PublishPlanInput") == ['Missing property "openNow".']

    for now in ("light", "dark", "light"):
        page.do("system", **{"is": now})
    assert [page.do("fits", width=width) for width in (800, 1280)] == [True, True]


def test_the_token_is_kept_for_the_tab_and_nowhere_else(browser: Driver, holdfast: Deployment) -> None:
    page = graphiql(browser, holdfast, "one")
    page.run(tab="Viewer", where="it.data.viewer")
    page.do("reload")
    answer = page.run(tab="Viewer", where="it.data")
    assert answer["data"]["viewer"]["courses"], answer

    stored = page.do("storage")
    assert stored["session"]["holdfast:token"] == holdfast.tokens["teacher"]
    assert holdfast.tokens["teacher"] not in str(stored["local"])
    other = browser.page("two", f"{holdfast.url}/graphiql")
    assert "holdfast:token" not in other.do("storage")["session"]


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_events_arrive_while_a_plan_publishes_from_another_tab(
    browser: Driver, holdfast: Deployment, transport: str
) -> None:
    plan_id = holdfast.draft(f"Watched over {transport}")
    publishing, watching = graphiql(browser, holdfast, "publishing"), graphiql(browser, holdfast, "watching")
    job_id = publish(publishing, plan_id)

    watching.do("transport", transport=transport)
    first = watch(watching, job_id, after=0)
    assert (first["status"], first["progress"]) == ("QUEUED", 0)
    assert watching.do("is_running")

    with holdfast.worker():
        last = watching.result(OVER)["data"]["jobProgress"]
    assert (last["type"], last["progress"]) == ("STATUS", 100)
    card = watching.job(job_id)
    assert (card["status"], card["progress"]) == ("COMPLETED", 100)
    assert card["lines"][0] == [0, "SNAPSHOT"]
    assert_gapless(card["lines"], after=0)
    # A worker makes more steps than these, and on a busy machine folds those into one that wait to be written.
    assert len(card["percents"]) >= 5
    assert card["percents"] == sorted(card["percents"])
    assert not watching.do("is_running")


async def test_after_a_reload_the_job_is_found_again_and_goes_on_after_the_last_event(
    browser: Driver, holdfast: Deployment
) -> None:
    plan_id = holdfast.draft("Reloaded")
    page = graphiql(browser, holdfast, "one")
    job_id = publish(page, plan_id)
    async with held_up(holdfast) as let_go:
        watch(page, job_id, after=0)
        last_seen = page.result("it.data.jobProgress.status === 'RUNNING'")["data"]["jobProgress"]["seq"]

        page.do("reload")
        found = page.run(tab="Viewer", query=FIND_JOB, variables={"id": plan_id}, where="it.data.plan")
        plan = found["data"]["plan"]
        assert (plan["state"], plan["publishJob"]["id"]) == ("PUBLISHING", job_id)
        assert watch(page, job_id, after=last_seen)["status"] == "RUNNING"

        await let_go()
        page.result(OVER)
    # The panel's own stream went on as well: it alone writes the card, so that nothing is there twice.
    lines = page.job(job_id, watch="ended", status="COMPLETED")["lines"]
    assert [seq for seq, kind in lines if kind == "SNAPSHOT"] == [0]
    assert_gapless(lines, after=0)


async def test_a_followed_job_goes_on_by_itself_after_a_reload(browser: Driver, holdfast: Deployment) -> None:
    page = graphiql(browser, holdfast, "one")
    job_id = publish(page, holdfast.draft("Followed"))
    # Who has asked for it need not press anything, and may: nothing is lost or told twice.
    page.job(job_id, watch="live", status="QUEUED", lines=1)
    assert page.do("says", id=job_id) == {"left": None, "buttons": ["Stop following", "Cancel job…"]}
    page.do("press", id=job_id, button="Stop following")
    page.job(job_id, watch="stopped", status="QUEUED")
    assert page.do("says", id=job_id) == {
        "left": "not followed any more",
        "buttons": ["Follow", "Cancel job…", "Forget"],
    }
    page.do("press", id=job_id, button="Follow")
    async with held_up(holdfast) as let_go:
        page.job(job_id, watch="live", status="RUNNING")
        page.do("reload")
        before = page.job(job_id, watch="live")["lines"]
        await let_go()
        after = page.job(job_id, watch="ended", status="COMPLETED")
    assert after["lines"][: len(before)] == before
    assert_gapless(after["lines"], after=0)
    assert page.do("says", id=job_id) == {"left": None, "buttons": ["Forget"]}
    for width in (800, 1280):
        texts = page.do("texts", id=job_id, width=width)
        assert texts["areWhole"], width
        assert texts["narrowest"] > LEGIBLE, width


async def test_a_card_is_in_order_and_tells_nothing_twice_after_its_connection_was_cut(
    browser: Driver, holdfast: Deployment
) -> None:
    page = graphiql(browser, holdfast, "one")
    page.do("cuttable")
    page.do("reload")
    job_id = publish(page, holdfast.draft("Cut off"))
    page.job(job_id, watch="live", status="QUEUED", lines=2)
    page.do("cut")
    async with held_up(holdfast) as let_go:
        page.job(job_id, watch="live", status="RUNNING")
        page.do("cut")
        # An earlier look, by a stream of the user's own, has nothing to add.
        watch(page, job_id, after=0)
        await let_go()
        lines = page.job(job_id, watch="ended", status="COMPLETED")["lines"]
    assert lines[0] == [0, "SNAPSHOT"]
    assert [kind for _, kind in lines].count("SNAPSHOT") == 1
    assert_gapless(lines, after=0)


def test_a_job_is_cancelled_from_its_card_after_a_second_thought(browser: Driver, holdfast: Deployment) -> None:
    page = graphiql(browser, holdfast, "one")
    job_id = publish(page, holdfast.draft("Cancelled"))
    page.job(job_id, watch="live", status="QUEUED")
    page.do("press", id=job_id, button="Cancel job…")
    page.do("press", id=job_id, button="No")
    assert page.do("says", id=job_id)["buttons"] == ["Stop following", "Cancel job…"]
    query = "query Job($id: ID!) { job(id: $id) { status cancelRequestedAt } }"
    assert holdfast.ask(query, id=job_id)["job"] == {"status": "QUEUED", "cancelRequestedAt": None}
    page.do("press", id=job_id, button="Cancel job…")
    page.do("press", id=job_id, button="Yes, cancel it")
    page.job(job_id, watch="ended", status="CANCELLED")
    assert page.do("says", id=job_id) == {"left": None, "buttons": ["Forget"]}
    assert holdfast.ask(query, id=job_id)["job"]["status"] == "CANCELLED"


async def test_a_second_browser_that_joins_late_gets_the_snapshot_and_the_rest(
    browser: Driver, holdfast: Deployment
) -> None:
    first = graphiql(browser, holdfast, "first")
    job_id = publish(first, holdfast.draft("Joined late"))
    async with held_up(holdfast) as let_go:
        watch(first, job_id, after=0)
        first.result("it.data.jobProgress.status === 'RUNNING'")

        second = graphiql(browser, holdfast, "second", of="second")
        assert watch(second, job_id)["status"] == "RUNNING"
        [joined_at, kind] = second.job(job_id)["lines"][0]
        assert kind == "SNAPSHOT"
        assert joined_at >= 2

        await let_go()
        ends = [page.result(OVER)["data"]["jobProgress"] for page in (first, second)]
    assert ends[0]["seq"] == ends[1]["seq"]
    cards = first.job(job_id, watch="ended", status="COMPLETED"), second.job(job_id)
    assert_gapless(cards[0]["lines"], after=0)
    assert_gapless(cards[1]["lines"], after=joined_at)
    assert cards[0]["lines"][-1] == cards[1]["lines"][-1]
