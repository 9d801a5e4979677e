"""How often: a token bucket for each viewer and each address, shared by all servers through Valkey.

A bucket holds `burst` requests and is refilled at a steady rate, so somebody who was quiet may send a burst at once and
nobody sends more than the rate for long. All buckets of a request are asked and taken from in one script, in one round
trip. While Valkey is down each process keeps buckets of its own: the limits hold for each server then, and requests go
on.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from redis.asyncio import Redis
from redis.exceptions import RedisError

from db.errors import Code
from db.telemetry import get_logger
from server.limits import LimitSettings
from server.refusals import RequestRefused

log = get_logger(__name__)

# Takes one from every bucket, or from none. Answers with the bucket that is nearest to its end: whether it sufficed,
# its number, what is left, and in how many milliseconds there is one again.
TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local levels, tightest, least = {}, 1, math.huge
for i, key in ipairs(KEYS) do
  local rate, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local known = redis.call('HMGET', key, 'level', 'at')
  local level = burst
  if known[1] then
    level = math.min(burst, tonumber(known[1]) + math.max(0, now - tonumber(known[2])) * rate / 1000)
  end
  levels[i] = level
  if level < least then tightest, least = i, level end
end
local rate = tonumber(ARGV[2 * tightest - 1])
if least < 1 then
  return {0, tightest, 0, math.ceil((1 - least) * 1000 / rate)}
end
for i, key in ipairs(KEYS) do
  redis.call('HSET', key, 'level', tostring(levels[i] - 1), 'at', tostring(now))
  redis.call('PEXPIRE', key, math.ceil(tonumber(ARGV[2 * i]) * 1000 / tonumber(ARGV[2 * i - 1])) + 1000)
end
return {1, tightest, math.floor(least - 1), 0}
"""
PREFIX = "holdfast:rate:"
# How long a process goes by its own buckets before it asks Valkey again.
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket: whose, its rate a second and its size."""

    name: str
    rate: float
    burst: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of asking: the bucket nearest to its end, what is left in it, and the wait where it was empty."""

    allowed: bool
    bucket: Bucket
    remaining: int
    wait_seconds: float

    @property
    def headers(self) -> dict[str, str]:
        """The RateLimit headers of the answer, with Retry-After where it is a refusal."""
        bucket = self.bucket
        reset = self.wait_seconds if not self.allowed else (bucket.burst - self.remaining) / bucket.rate
        headers = {
            "ratelimit-limit": str(bucket.burst),
            "ratelimit-remaining": str(self.remaining),
            "ratelimit-reset": str(ceil(reset)),
            "ratelimit-policy": f"{bucket.rate:g};w=1;burst={bucket.burst}",
        }
        if not self.allowed:
            headers["retry-after"] = str(max(1, ceil(self.wait_seconds)))
        return headers

    def refusal(self) -> RequestRefused:
        """The refusal, where it is one."""
        wait = max(1, ceil(self.wait_seconds))
        return RequestRefused(
            Code.RATE_LIMITED,
            f"Too many requests: {self.bucket.rate:g} a second with bursts of {self.bucket.burst} are allowed. "
            f"Wait {wait} s.",
            status=429,
            headers=self.headers,
            limit="requestsPerSecond",
            allowed=self.bucket.rate,
            retryAfterSeconds=wait,
        )


class Rates:
    """The buckets of viewers and addresses."""

    def __init__(self, redis: Redis | None, limits: LimitSettings) -> None:
        self._take = redis.register_script(TAKE) if redis is not None else None
        self._limits = limits
        self._own = OwnBuckets()
        self._away_until = 0.0

    async def take(self, *, viewer: str | None, address: str) -> Verdict:
        """Take one request from the buckets of an address and, where somebody is signed in, of the viewer."""
        limits = self._limits
        buckets = [Bucket(f"address:{address}", limits.address_requests_per_second, limits.address_burst)]
        if viewer is not None:
            buckets.append(Bucket(f"viewer:{viewer}", limits.requests_per_second, limits.burst))
        if self._take is not None and time.monotonic() >= self._away_until:
            try:
                keys = [PREFIX + bucket.name for bucket in buckets]
                numbers = [number for bucket in buckets for number in (bucket.rate, bucket.burst)]
                allowed, which, remaining, wait_ms = await self._take(keys, numbers)
                return Verdict(bool(allowed), buckets[which - 1], remaining, wait_ms / 1000)
            except (RedisError, OSError, TimeoutError) as error:
                self._away_until = time.monotonic() + PAUSE_SECONDS
                log.warning("rates.valkey_away", error=type(error).__name__)
        return self._own.take(buckets, now=time.monotonic())


class OwnBuckets:
    """The same buckets in one process's memory."""

    def __init__(self, most: int = 10_000) -> None:
        self._levels: dict[str, tuple[float, float]] = {}
        self._most = most

    def take(self, buckets: Sequence[Bucket], *, now: float) -> Verdict:
        """Take one from every bucket, or from none. `now` is in seconds of a clock that never goes back."""
        levels = [self._level(bucket, now) for bucket in buckets]
        least = min(levels)
        tightest = buckets[levels.index(least)]
        if least < 1:
            return Verdict(False, tightest, 0, (1 - least) / tightest.rate)
        for bucket, level in zip(buckets, levels, strict=True):
            self._levels.pop(bucket.name, None)
            self._levels[bucket.name] = level - 1, now
        while len(self._levels) > self._most:
            # The one that was used longest ago is the fullest: forgetting it gives the least away.
            del self._levels[next(iter(self._levels))]
        return Verdict(True, tightest, int(least - 1), 0.0)

    def _level(self, bucket: Bucket, now: float) -> float:
        level, at = self._levels.get(bucket.name, (float(bucket.burst), now))
        return min(float(bucket.burst), level + (now - at) * bucket.rate)
