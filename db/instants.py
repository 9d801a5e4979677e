"""Which instants are taken from outside: one answer for every place that reads one."""

from datetime import UTC, datetime

# Both ends included. Beyond them an offset leaves the years that Python has, and what reads rows gives infinities back,
# which can be compared with nothing.
EARLIEST_INSTANT = datetime(1900, 1, 1, tzinfo=UTC)
LATEST_INSTANT = datetime(8999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
