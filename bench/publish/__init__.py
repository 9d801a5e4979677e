"""Publishing to many learners, in ratio to a bare COPY of the same tasks with materialised steps."""

from bench.publish.measure import main

__all__ = ["main"]
