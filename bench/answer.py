"""How long `publishPlan` takes to answer, over HTTP, on the demo class of 1,000 learners × 10 steps.

`python -m bench answer`: starts everything as `make up` does, watches one publication, publishes 200 times in a row.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
from rich.console import Console

CALLS = 200
CLASS = "Physics online"
STEPS = 10

FIND = """
    query Find {
        viewer { courses { id classes { id name } units { lessons { items { id } } } } }
    }
"""
CREATE = "mutation C($input: CreatePlanInput!) { createPlan(input: $input) { plan { id } userErrors { message } } }"
PUBLISH = """
    mutation P($input: PublishPlanInput!) { publishPlan(input: $input) { job { id status } userErrors { message } } }
"""
WATCH = "subscription W($id: ID!) { jobProgress(jobId: $id, after: 0) { seq type status progress done total } }"


class Api:
    """The server as a teacher's front end sees it."""

    def __init__(self, url: str, token: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=30, headers={"authorization": f"Bearer {token}"})

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of an answer."""
        body = self.client.post("/graphql", json={"query": query, "variables": variables}).json()
        if "errors" in body:
            raise RuntimeError(body["errors"])
        return body["data"]

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Every event of a job, to its end."""
        body = {"query": WATCH, "variables": {"id": job_id}}
        with self.client.stream("POST", "/graphql", json=body, headers={"accept": "text/event-stream"}) as answer:
            told = [line.removeprefix("data:").strip() for line in answer.iter_lines() if line.startswith("data:")]
            return [json.loads(line)["data"]["jobProgress"] for line in told if line]


def create_plan(api: Api) -> str:
    """A reading plan of ten pages for the demo's big class; its id."""
    courses = api.ask(FIND)["viewer"]["courses"]
    course = next(each for each in courses if any(class_["name"] == CLASS for class_ in each["classes"]))
    class_id = next(each["id"] for each in course["classes"] if each["name"] == CLASS)
    pages = [item["id"] for unit in course["units"] for lesson in unit["lessons"] for item in lesson["items"]][:STEPS]
    instants = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + days * 86_400)) for days in (1, 2, 3)]
    dates = dict(zip(("opensAt", "dueAt", "closesAt"), instants, strict=True))
    wanted = {
        "courseId": course["id"],
        "type": "READING",
        "title": "Measured",
        "settings": {"page_ids": pages},
        "taskingPlans": [{"targetId": class_id, **dates}],
    }
    made = api.ask(CREATE, input=wanted)["createPlan"]
    if made["userErrors"]:
        raise RuntimeError(made["userErrors"])
    return str(made["plan"]["id"])


def measure(api: Api) -> None:
    """Publish, watch, and print."""
    console = Console()
    plan_id = create_plan(api)
    job = api.ask(PUBLISH, input={"planId": plan_id})["publishPlan"]["job"]
    events = api.events(job["id"])
    rising = sorted({event["progress"] for event in events if event["type"] == "PROGRESS"})
    console.print(f"one publication: answered {job['status']}; {len(events)} events, progress {rising}, {events[-1]}")
    for is_patient in (True, False):
        console.print(timed(api, plan_id, is_patient=is_patient))


def timed(api: Api, plan_id: str, *, is_patient: bool) -> str:
    """Publish again and again: after the publication before has ended, or at once, which supersedes it."""
    took = []
    statuses: Counter[str] = Counter()
    for _ in range(CALLS):
        began = time.perf_counter()
        answer = api.ask(PUBLISH, input={"planId": plan_id})["publishPlan"]
        took.append((time.perf_counter() - began) * 1000)
        if answer["userErrors"]:
            raise RuntimeError(answer)
        # The job is read after the commit: now and then a worker has it already.
        statuses[answer["job"]["status"]] += 1
        if is_patient:
            api.events(answer["job"]["id"])
    last = api.events(answer["job"]["id"])[-1]
    cuts = quantiles(took, n=100)
    how = "each after the one before" if is_patient else "in a row, superseding each other"
    return (
        f"publishPlan, {CALLS} calls, {how}: p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, max {max(took):.1f} ms;"
        f" {dict(statuses)}; the last: {last['status']}, {last['done']} of {last['total']}"
    )


def main() -> None:
    """Start everything, measure, stop everything."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        Path(directory).chmod(0o755)
        limits = {"LIMIT_REQUESTS_PER_SECOND": "100000", "LIMIT_BURST": "100000"}
        environment = {**os.environ, "HOLDFAST_DATA": directory, "SERVER_PORT": "0", **limits}
        with subprocess.Popen(
            [sys.executable, "-m", "server", "up"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as up:
            ready = Path(directory) / "up.json"
            while not ready.exists():
                if up.poll() is not None:
                    raise RuntimeError("the server did not start")
                time.sleep(0.1)
            facts = json.loads(ready.read_text())
            try:
                measure(Api(facts["url"], facts["tokens"]["teacher"]))
            finally:
                up.send_signal(signal.SIGINT)
                up.wait(60)
