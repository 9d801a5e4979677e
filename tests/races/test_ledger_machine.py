"""Everybody acts on the ledger in any order, and at once: what must hold, holds after every step, and all of it ends.

In CI a thousand steps and more, always the same; `LEDGER_MACHINE_EXAMPLES=500` (see `make soak`) other ones each time.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.support.machine import WORKS, Action, World
from tests.support.servers import Servers

STEPS = 50
EXAMPLES = int(os.environ.get("LEDGER_MACHINE_EXAMPLES", "0"))
WORK = st.integers(0, len(WORKS) - 1)
WORKER = st.integers(0, 2)
LEADER = st.integers(0, 1)
FEW = st.integers(1, 4)
# Which of those that there are: counted round.
WHICH = st.integers(0, 11)
# Roll back, commit, or stay open for a while.
COMMITS = st.sampled_from([1, 1, 2, 2, 0])
SECONDS = st.sampled_from([0, 6, 15, 60, 1_000])


def actions(**takes: Sequence[st.SearchStrategy[Any]]) -> st.SearchStrategy[Action]:
    """One of these actions of the world, with what it takes."""
    return st.one_of(*[st.tuples(st.just(name), *values) for name, values in takes.items()])


CARRYING = actions(
    dispatch=[], pop=[WORKER, FEW], claim=[WORKER, FEW], claim_old=[WORKER, WHICH], duplicate=[WHICH], drop=[WORKER],
    flushall=[],
)  # fmt: skip
WORKING = actions(
    complete=[WORKER, WHICH], end=[WORKER, WHICH, WHICH], tell=[WORKER, WHICH, FEW], write_late=[WHICH, FEW]
)
ASKING = actions(
    enqueue=[WORK, st.just(0), st.integers(0, 1)], enqueue_many=[st.lists(WORK, min_size=2, max_size=5)],
    cancel=[WHICH], retry=[WHICH],
    queue=[st.sampled_from(["default", "tight"]), WHICH],
)  # fmt: skip
LIVING = actions(beat=[WORKER], die=[WORKER], lose_sight=[WORKER], leave=[WORKER], be_rescued=[WORKER])
SWEEPING = actions(sweep=[WHICH, st.just(0)])
TICKING = actions(lead=[LEADER], tick=[LEADER], pass_time=[SECONDS])
# By itself: a job that ends and is forgotten between two looks could not be told from one that was lost.
RETAINING = actions(retain=[st.sampled_from([0, 30])])


class LedgerMachine(RuleBasedStateMachine):
    """The rules. `steps` counts them over all examples."""

    steps = 0

    def __init__(self, world: World, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        super().__init__()
        self.world = world
        self.run = run

    def do(self, action: Coroutine[Any, Any, Any]) -> None:
        type(self).steps += 1
        self.run(action)

    @initialize(works=st.lists(WORK, min_size=4, max_size=10), limits=st.integers(0, 3))
    def begin(self, works: list[int], limits: int) -> None:
        self.run(self.world.begin())
        for work in works:
            self.run(self.world.enqueue(work, 0, 1))
        self.run(self.world.queue("tight", limits))

    @rule(work=WORK, delay=st.sampled_from([0, 0, 0, 30]), commits=COMMITS)
    def ask(self, work: int, delay: int, commits: int) -> None:
        self.do(self.world.enqueue(work, delay, commits))

    @rule(which=WHICH, commits=st.integers(0, 1))
    def finish_an_open_transaction(self, which: int, commits: int) -> None:
        self.do(self.world.finish(which, commits))

    @rule(worker=WORKER, count=st.integers(1, 4))
    def begin_to_work(self, worker: int, count: int) -> None:
        """Dispatch, pop and claim in one step, so that long stories come about."""
        self.do(self.world.start(worker, count))

    @rule(action=CARRYING)
    def carry(self, action: Action) -> None:
        self.do(self.world.act(action))

    @rule(worker=WORKER, which=WHICH, lines=st.integers(0, 3))
    def work_on(self, worker: int, which: int, lines: int) -> None:
        """Write a batch, or tell so many lines."""
        self.do(self.world.tell(worker, which, lines) if lines else self.world.batch(worker, which))

    @rule(worker=WORKER, which=WHICH, commits=COMMITS)
    def complete(self, worker: int, which: int, commits: int) -> None:
        self.do(self.world.complete_slowly(worker, which, commits))

    @rule(worker=WORKER, which=WHICH, how=WHICH)
    def end_otherwise(self, worker: int, which: int, how: int) -> None:
        self.do(self.world.end(worker, which, how))

    @rule(which=WHICH, what=WHICH)
    def write_late(self, which: int, what: int) -> None:
        self.do(self.world.write_late(which, what))

    @rule(action=ASKING)
    def ask_for_something_else(self, action: Action) -> None:
        self.do(self.world.act(action))

    @rule(action=LIVING)
    def live_and_die(self, action: Action) -> None:
        self.do(self.world.act(action))

    @rule(which=WHICH, seconds=SECONDS)
    def sweep(self, which: int, seconds: int) -> None:
        self.do(self.world.sweep(which, seconds))

    @rule(action=st.one_of(TICKING, RETAINING))
    def go_by_the_clock(self, action: Action) -> None:
        self.do(self.world.act(action))

    @rule(actions=st.lists(st.one_of(CARRYING, WORKING, ASKING, SWEEPING, TICKING), min_size=2, max_size=4))
    def act_at_once(self, actions: list[Action]) -> None:
        self.do(self.world.at_once(*[self.world.act(action) for action in actions]))

    @invariant()
    def what_must_hold_holds(self) -> None:
        self.run(self.world.watch.look())

    def teardown(self) -> None:
        self.run(self.world.settle())


def test_what_must_hold_in_the_ledger_holds_under_any_interleaving(servers: Servers, redis_url: str) -> None:
    LedgerMachine.steps = 0
    with servers.fresh_database() as url, asyncio.Runner() as runner:
        world = runner.run(World.open(url, redis_url))
        try:
            run_state_machine_as_test(
                lambda: LedgerMachine(world, runner.run),  # type: ignore[arg-type]  # any factory will do
                settings=settings(
                    max_examples=EXAMPLES or 40,
                    stateful_step_count=STEPS,
                    derandomize=not EXAMPLES,
                    database=None,
                    deadline=None,
                    phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            moves = world.watch.moves
            runner.run(world.close())
    assert LedgerMachine.steps >= 1_000
    # Not only rules that find nothing to do: jobs went all ways that there are.
    assert sum(moves.values()) >= 500
