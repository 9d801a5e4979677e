"""The demo data: a school in the middle of its year, so that every query of the README has something to show.

Loading it twice changes nothing but the tokens. What has happened in the school's past is written as it would have
been: by the same commands, as of then.
"""

from collections.abc import Mapping

from db.session import Database
from server.demo.people import tokens_of
from server.demo.plans import make_plans
from server.demo.school import make_school
from server.demo.tasks import make_tasks


async def load_demo(database: Database, *, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Load what is not there yet; a token for each person of the demo, by name.

    `known` are tokens of an earlier time: those that are still good stay, so that whoever has noted one may go on.
    """
    school = await make_school(database)
    await make_plans(database, school)
    await make_tasks(database, school.people)
    return await tokens_of(database, school.people, known or {})
