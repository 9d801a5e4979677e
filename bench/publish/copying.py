"""The rival: a bare COPY of every task and every step into tables like ours, as a server without templates writes."""

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg

from bench.world import BenchWorld

LIKE_TABLES = """
    DROP TABLE IF EXISTS copied_steps, copied_tasks;
    CREATE TABLE copied_tasks (LIKE tasks INCLUDING ALL);
    ALTER TABLE copied_tasks ADD FOREIGN KEY (plan_id) REFERENCES plans (id);
    ALTER TABLE copied_tasks ADD FOREIGN KEY (type_name) REFERENCES task_types (name);
    ALTER TABLE copied_tasks ADD FOREIGN KEY (assignee_user_id) REFERENCES users (id);
    ALTER TABLE copied_tasks ADD FOREIGN KEY (assigned_by_id) REFERENCES users (id);
    CREATE TABLE copied_steps (
        id uuid PRIMARY KEY DEFAULT uuidv7(), task_id uuid NOT NULL REFERENCES copied_tasks (id),
        position smallint NOT NULL, kind text NOT NULL, title text NOT NULL, content jsonb NOT NULL,
        completed_at timestamptz, UNIQUE (task_id, position)
    );
"""
TASK_COLUMNS = [
    "id",
    "type_name",
    "title",
    "status",
    "assignee_user_id",
    "assigned_by_id",
    "created_at",
    "assigned_at",
    "plan_id",
    "generation",
    "opens_at",
    "due_at",
    "closes_at",
    "is_touched",
    "version",
]
STEP_COLUMNS = ["task_id", "position", "kind", "title", "content"]


async def copy_rows(
    connection: "asyncpg.Connection[Any]", world: BenchWorld, plan_id: UUID, *, learners: int, steps: int
) -> float:
    """Seconds of it: one transaction for each table."""
    await connection.execute(LIKE_TABLES)
    keys = [
        record["id"] for record in await connection.fetch("SELECT uuidv7() AS id FROM generate_series(1, $1)", learners)
    ]
    now = await connection.fetchval("SELECT now()")
    teacher = world.teacher.user_id

    def tasks() -> Iterator[tuple[Any, ...]]:
        for key, learner in zip(keys, world.learners[:learners], strict=True):
            yield (key, "reading", "Read", "ASSIGNED", learner, teacher, now, now, plan_id, 1, now, now, now, False, 0)

    def pages() -> Iterator[tuple[Any, ...]]:
        content = '{"itemId": "01890000-0000-7000-8000-000000000000"}'
        for key in keys:
            for position in range(steps):
                yield (key, position, "page", f"Page {position}", content)

    began = time.perf_counter()
    await connection.copy_records_to_table("copied_tasks", records=tasks(), columns=TASK_COLUMNS, timeout=600)
    await connection.copy_records_to_table("copied_steps", records=pages(), columns=STEP_COLUMNS, timeout=600)
    return time.perf_counter() - began
