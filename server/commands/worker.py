"""`worker`: one worker process alone."""

import asyncio
import runpy

from db.environment import load
from db.settings import DatabaseSettings, RedisSettings
from jobs.settings import RetentionSettings, WorkerSettings
from server.doctor import refuse_unready_database


def worker() -> None:
    """Run one worker: it claims due work from DATABASE_URL until it is told to stop, then finishes what it holds."""
    database = load(DatabaseSettings)
    for settings in (RedisSettings, WorkerSettings, RetentionSettings):
        load(settings)
    asyncio.run(refuse_unready_database(database))
    runpy.run_module("jobs", run_name="__main__", alter_sys=True)
