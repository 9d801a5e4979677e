"""A worker process as `python -m jobs` starts one, but for the kinds of the tests. `WORKER_CLOCK_OFF`: see there."""

import os

import uvloop

from jobs.worker import run_worker
from tests.support.kinds import KINDS
from tests.support.recurring_worker import put_the_clock_off

if __name__ == "__main__":
    put_the_clock_off(float(os.environ.get("WORKER_CLOCK_OFF", "0")))
    uvloop.run(run_worker(kinds=KINDS))
