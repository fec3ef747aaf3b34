"""A hypothesis state machine over the broker: everything that can go wrong, in every order."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from broker.fleet import GB, inventory
from broker.world import World
from broker.world_asks import USERS, random_request
from swangpu.broker import events as ev
from swangpu.domain.sessions import Request

#: events handled by all machines so far
steps_taken = 0

#: hundreds of events each: the first example of all is nothing but the simplest rule, over and over
MOST_DAYS = 3

index = st.integers(0, 10_000)


class Machine(RuleBasedStateMachine):
    """Each rule is something that happens; each draws little, and a seeded generator makes the details."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.days = self.turns = 0

    def _pick(self, number: int) -> str:
        return self.world.ids[number % len(self.world.ids)] if self.world.ids else "none"

    @rule(seed=index, user=st.sampled_from(USERS), commit=st.booleans())
    def ask(self, seed: int, user: str, commit: bool) -> None:
        rng = random.Random(seed)
        for _ in range(rng.randint(1, 3)):
            self.world.request(user, random_request(rng), commit=commit or rng.random() < 0.8)

    @rule(user=st.sampled_from(USERS), flavor=st.sampled_from(["a100-40gb/1g.5gb", "t4", "t4/time-2"]))
    def ask_well(self, user: str, flavor: str) -> None:
        self.world.request(user, Request(flavor=flavor, duration_s=600.0))

    @rule(user=st.sampled_from(USERS), n=st.integers(2, 4))
    def double_click(self, user: str, n: int) -> None:
        request = Request(memory_bytes=4 * GB, duration_s=3600.0)
        key = f"key-{self.world.steps}"
        before = set(self.world.broker.state.sessions)
        for _ in range(n):
            self.world.request(user, request, key=key)
        assert len(set(self.world.broker.state.sessions) - before) <= 1, "a double click made two sessions"

    @rule(number=index)
    def claim(self, number: int) -> None:
        self.world.send(ev.Claimed(self._pick(number)))

    @rule(seed=index)
    def everybody_claims(self, seed: int) -> None:
        for session in list(self.world.broker.state.live()):
            self.world.send(ev.Claimed(session.id), commit=seed % 7 != 0)

    @rule(number=index, undoable=st.booleans())
    def release(self, number: int, undoable: bool) -> None:
        self.world.send(ev.Released(self._pick(number), undoable))

    @rule(number=index)
    def undo(self, number: int) -> None:
        self.world.send(ev.Undone(self._pick(number)))

    @rule(number=index, seconds=st.sampled_from([60.0, 3600.0, 1e7]))
    def extend(self, number: int, seconds: float) -> None:
        self.world.send(ev.Extended(self._pick(number), seconds))

    @rule(number=index)
    def pause_and_resume(self, number: int) -> None:
        self.world.send(ev.Paused(self._pick(number)))
        self.world.send(ev.Resumed(self._pick(number + 1)))

    @rule(number=index, busy=st.booleans(), can_pause=st.booleans())
    def compute(self, number: int, busy: bool, can_pause: bool) -> None:
        session_id = self._pick(number)
        methods = ("offload", "carry") if can_pause else ()
        self.world.send(ev.KernelAttached(session_id, f"k{number % 3}", None, methods))
        self.world.send(ev.ActivityReported(session_id, busy))

    @rule(flavor=st.sampled_from(["t4", "a100-40gb/1g.5gb"]), in_s=st.sampled_from([0.0, 300.0, 5000.0]), whose=index)
    def reserve(self, flavor: str, in_s: float, whose: int) -> None:
        self.world.reserve(flavor, in_s, 900.0, (1, 2, 8)[whose % 3], USERS[: whose % 4])

    @rule(user=st.sampled_from(USERS), flavors=st.sampled_from([("t4",), ("t4", "t4/time-2"), ("a100-40gb/1g.5gb",)]))
    def greedy(self, user: str, flavors: tuple[str, ...]) -> None:
        """One person wants more than anybody may have, and takes all that comes."""
        for number in range(4):
            self.world.request(user, Request(flavor=flavors[number % len(flavors)], duration_s=600.0))
        self._take_what_comes()

    @rule(number=index, fail=st.booleans())
    def hand_over(self, number: int, fail: bool) -> None:
        """Somebody gives back what others wait for, and it may not stop at once."""
        for user in USERS:
            self.world.request(user, Request(flavor="t4", duration_s=600.0))
        self._take_what_comes()
        active = [s.id for s in self.world.broker.state.live() if s.id in self.world.running]
        self.world.send(ev.Released(active[number % len(active)] if active else "none", False))
        self.world.carry_out(fail=fail)
        self._take_what_comes()

    @rule(user=st.sampled_from(USERS), whose=index)
    def a_tutorial_comes(self, user: str, whose: int) -> None:
        """Somebody works on a device that is to be set aside, until that begins."""
        self.world.request(user, Request(flavor="t4", duration_s=3600.0))
        self._take_what_comes()
        self.world.reserve("t4", 300.0, 900.0, 8, USERS[: whose % 2])
        self.world.advance(310.0)

    def _take_what_comes(self) -> None:
        for _ in range(3):
            for session in list(self.world.broker.state.live()):
                self.world.send(ev.Claimed(session.id))
            self.world.settle()

    @precondition(lambda self: self.days < MOST_DAYS)
    @rule()
    def a_day_of_work(self) -> None:
        """Cells come and go on whatever is held, and people wait: sessions are paused and brought back."""
        self.days += 1
        world = self.world
        for user in USERS:
            world.request(user, Request(flavor="t4", duration_s=3600.0))
        for turn in range(6):
            for session in list(world.broker.state.live()):
                world.send(ev.Claimed(session.id))
                world.send(ev.KernelAttached(session.id, f"k-{session.id}", None, ("offload",)))
                world.send(ev.ActivityReported(session.id, turn % 2 == 0))
            world.carry_out(fail=turn == 3)
            world.settle()
            world.advance(25.0)

    @precondition(lambda self: self.turns < MOST_DAYS)
    @rule(seed=index, fail=st.booleans())
    def a_day_of_turns(self, seed: int, fail: bool) -> None:
        """People who ask for some memory take turns: what is paused may stay, until somebody needs more."""
        self.turns += 1
        world, rng = self.world, random.Random(seed)
        for turn in range(6):
            asked = rng.choice([1, 4, 9, 9, 9, 16])
            world.request(rng.choice(USERS), Request(memory_bytes=asked * GB, duration_s=3600.0))
            for session in list(world.broker.state.live()):
                world.send(ev.Claimed(session.id))
                world.send(ev.KernelAttached(session.id, f"k-{session.id}", None, ("offload",)))
                world.send(ev.ActivityReported(session.id, rng.random() < 0.3))
            # what was decided is looked at before it is done
            world.check()
            world.carry_out(fail=fail and turn == 4)
            world.settle()
            world.advance(25.0)

    @rule(device=st.sampled_from(["A", "T1", "T2", "T9"]))
    def memory_is_short(self, device: str) -> None:
        self.world.send(ev.MemoryShort(device))

    @rule(number=index)
    def kernel_gone(self, number: int) -> None:
        self.world.send(ev.KernelGone(self._pick(number), f"k{number % 3}"))

    @rule(number=index, kind=st.integers(0, 4))
    def stray_report(self, number: int, kind: int) -> None:
        """Late, doubled and made-up reports; a confirmed stop is never made up, backends do not lie about that."""
        session_id = self._pick(number)
        running = session_id in self.world.running
        if kind == 0 and running:
            self.world.send(ev.WorkStarted(session_id))
        elif kind == 1:
            self.world.send(ev.WorkFailed(session_id, "late", "A late failure."))
        elif kind == 2 and not running:
            self.world.send(ev.WorkVanished(session_id))
        elif kind == 3:
            self.world.send(ev.WorkCheckpointed(session_id, f"c{number}"))
        else:
            self.world.send(ev.AttachFailed(session_id, "late", "A late failure."))

    @rule(seconds=st.sampled_from([0.0, 1.0, 11.0, 130.0, 700.0, 4000.0, -5000.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(fail=st.booleans(), n=st.integers(1, 5))
    def carry_out(self, fail: bool, n: int) -> None:
        for _ in range(n):
            self.world.carry_out(fail=fail)

    @rule(number=index, twice=st.booleans(), lose=st.booleans())
    def deliver(self, number: int, twice: bool, lose: bool) -> None:
        self.world.deliver(number, twice=twice, lose=lose)

    @rule()
    def all_is_well(self) -> None:
        self.world.settle()

    @rule(what=st.sampled_from(["ok", "lost", "taken", "away", "old"]))
    def inventory(self, what: str) -> None:
        if what == "old":
            self.world.send(ev.InventoryReported(inventory(0.5)))
        elif what == "away":
            self.world.report_inventory(available=False)
        elif what == "lost":
            self.world.report_inventory(lost=("MIG-A-0", "T1", "T1/time-0of2", "T1/time-1of2"))
        elif what == "taken":
            self.world.report_inventory(taken=("T2",))
        else:
            self.world.report_inventory()

    @rule()
    def crash(self) -> None:
        self.world.crash()

    @rule()
    def keep_snapshot(self) -> None:
        self.world.keep_snapshot()

    @invariant()
    def holds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        global steps_taken
        self.world.crash()
        self.world.check_drains()
        steps_taken += self.world.steps


class Moving(RuleBasedStateMachine):
    """Only what puts sessions aside and brings them back: what goes wrong there is found sooner."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.days = self.turns = 0

    _pick = Machine._pick
    ask_well = Machine.ask_well
    a_day_of_work = Machine.a_day_of_work
    a_day_of_turns = Machine.a_day_of_turns
    memory_is_short = Machine.memory_is_short
    pause_and_resume = Machine.pause_and_resume
    compute = Machine.compute
    everybody_claims = Machine.everybody_claims
    release = Machine.release
    time_passes = Machine.time_passes
    carry_out = Machine.carry_out
    all_is_well = Machine.all_is_well
    holds = Machine.holds
    teardown = Machine.teardown


def run(examples: int, *, shrink: bool = True, kind: type[RuleBasedStateMachine] = Machine) -> None:
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if shrink else [])]
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=examples,
            stateful_step_count=60,
            deadline=None,
            phases=phases,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            report_multiple_bugs=False,
        ),
    )
