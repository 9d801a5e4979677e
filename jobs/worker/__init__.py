"""A worker process: takes tickets from the bus, runs them, sweeps, says that it lives, and goes in good order."""

from jobs.worker.process import WorkerProcess, run_worker

__all__ = ["WorkerProcess", "run_worker"]
