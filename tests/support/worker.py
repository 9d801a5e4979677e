"""A worker process as `python -m jobs` starts one, but for the kinds of the tests."""

import uvloop

from jobs.worker import run_worker
from tests.support.kinds import KINDS

if __name__ == "__main__":
    uvloop.run(run_worker(kinds=KINDS))
