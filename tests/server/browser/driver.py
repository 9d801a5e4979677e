"""A real Chromium showing GraphiQL, driven by driver.mjs; and where it and Node are found."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.facts import ROOT

WEB = ROOT / "web"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class BrowserError(AssertionError):
    """What was awaited did not come, or the page is not as it should be."""


def chromium() -> str | None:
    """The program; None where there is none. CHROMIUM names one of one's own."""
    if given := os.environ.get("CHROMIUM"):
        return given
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def missing() -> str | None:
    """What the browser tests lack here, and how to get it."""
    if chromium() is None:
        return "no chromium here: apt-get install chromium, or set CHROMIUM=/path/to/chromium"
    if not (WEB / "node_modules" / "playwright-core").is_dir() or not (ROOT / "server/static/index.html").is_file():
        return "GraphiQL is not built or the npm packages are missing: make web"
    return None


@dataclass(frozen=True)
class Driver:
    """The process of driver.mjs: a line of JSON for each command, a line for each answer."""

    process: subprocess.Popen[str]

    def do(self, command: str, **given: Any) -> Any:
        """One command; waits for its answer. Raises BrowserError with what went wrong."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": command} | given) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise BrowserError(f"{command}: the driver ended with {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise BrowserError(answer["error"])
        return answer["value"]

    def page(self, name: str, url: str, *, browser: str = "first") -> "Page":
        """GraphiQL in a new tab of a browser (each `browser` is a process with a profile of its own)."""
        self.do("open", browser=browser, page=name, url=url)
        return Page(self, name)


@dataclass(frozen=True)
class Page:
    """A tab of the browser with GraphiQL in it, as a user handles it."""

    driver: Driver
    name: str

    def do(self, command: str, **given: Any) -> Any:
        """A command of driver.mjs, on this page."""
        return self.driver.do(command, page=self.name, **given)

    def sign_in(self, token: str) -> str:
        """Paste a token into the box; what the page then says of whom it belongs to."""
        return str(self.do("token", token=token))

    def run(self, *, tab: str | None = None, where: str = "true", **written: Any) -> Any:
        """Write a query or variables, press the button; the first result of which `where` (over `it`) is true."""
        self.start(tab=tab, **written)
        return self.result(where)

    def start(self, *, tab: str | None = None, **written: Any) -> None:
        """Write a query or variables and press the button."""
        if tab is not None:
            self.do("tab", title=tab)
        if written:
            self.do("write", **written)
        self.do("run")

    def result(self, where: str = "true") -> Any:
        """What the result pane shows, once it is so."""
        return self.do("result", where=where)

    def job(self, job_id: str, **awaited: Any) -> dict[str, Any]:
        """The card of a job in the Jobs panel: status, watch, progress, lines of (seq, type), percents of progress."""
        answer: dict[str, Any] = self.do("job", id=job_id, **awaited)
        return answer


@contextmanager
def driver(origin: str, *, directory: Path) -> Iterator[Driver]:
    """Chromium, ready for pages of `origin`. At the end nothing may have complained or looked elsewhere."""
    # Chromium puts sockets into its temporary directory, and a socket's path may have 107 characters only.
    with (
        (directory / "driver.log").open("w+") as log,
        tempfile.TemporaryDirectory(prefix="hf-", dir="/tmp", ignore_cleanup_errors=True) as short,
    ):
        process = subprocess.Popen(
            [WEB / "node", ROOT / "tests/server/browser/driver.mjs"],
            env=os.environ | {"CHROMIUM": chromium() or "", "TMPDIR": short},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            running = Driver(process)
            yield running
            assert_kept_to(origin, running.do("finish"))
        finally:
            process.communicate()  # closes its standard input, which ends it and its browsers
        log.seek(0)
        assert log.read() == ""


def assert_kept_to(origin: str, seen: dict[str, list[str]]) -> None:
    """No request of a page left the server, no error was logged, no rule of the content security policy broken."""
    assert seen["complaints"] == [], seen["complaints"]
    asked = {*seen["requests"], *seen["sockets"], *seen["asked"]}
    assert f"{origin}/graphiql" in asked
    homes = (f"{origin}/", f"{origin.replace('http', 'ws', 1)}/", f"blob:{origin}/", "data:")
    strangers = [url for url in asked if not url.startswith(homes)]
    assert strangers == [], strangers
