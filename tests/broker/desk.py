"""A broker whose backend and kernels do at once what they are told."""

from __future__ import annotations

from broker.fleet import GB, inventory
from swangpu.broker import commands as cmd
from swangpu.broker import events as ev
from swangpu.broker.broker import Broker
from swangpu.broker.fairness import in_order
from swangpu.broker.policy import Policy, Reclaim, ReclaimMode
from swangpu.broker.reasons import waiting_reason
from swangpu.domain.sessions import ComesBack, Request, Session, SessionState

#: what can be paused is, after a minute without work
ENFORCE = Policy(reclaim=(("*", Reclaim(ReclaimMode.ENFORCE, idle_pause_s=60.0, residency_s=0.0)),))


class Desk:
    """A broker whose backend does at once what it is told."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.broker = Broker()
        self.now = 1000.0
        self.notices: list[cmd.Notify] = []
        self.demand: list[str] = []
        #: what the ledger got of each session that has ended: the reason, and the code of what took it
        self.ended: dict[str, tuple[str, str]] = {}
        self.number = 0
        #: whether what is to be put aside is, at once, and where it can go on
        self.pauses = True
        self.comes_back = ComesBack.DEVICE
        #: how much each of them has on its device, and what may be taken for it, as it was said last
        self.saves_bytes = 2 * GB
        self.rooms: dict[str, int | None] = {}
        #: what each was told that may stay on its device, and who was told to leave it, in this order
        self.may_stay: dict[str, int] = {}
        self.left: list[str] = []
        #: whether that may stay does
        self.stays = False
        self.send(ev.Configured(policy or Policy()))
        self.send(ev.InventoryReported(inventory(1.0)))

    def send(self, event: ev.Event) -> list[cmd.Command]:
        commands = self.broker.handle(event, self.now)
        for command in commands:
            if isinstance(command, cmd.Notify):
                self.notices.append(command)
            if isinstance(command, cmd.RecordDemand):
                self.demand.append(command.record.outcome)
            if isinstance(command, cmd.RecordUsage):
                self.ended[command.record.session_id] = (command.record.end_reason, command.record.end_code)
            if isinstance(command, cmd.StartWork):
                self.send(ev.WorkStarted(command.session_id))
            if isinstance(command, cmd.StopWork):
                self.send(ev.WorkStopped(command.session_id))
            if isinstance(command, cmd.PauseWork):
                self.rooms[command.session_id] = command.budget_bytes
                self._put_aside(command)
            if isinstance(command, cmd.ResumeWork) and self.pauses:
                self.send(ev.ResumeDone(command.session_id, busy=True))
        return commands

    def _put_aside(self, command: cmd.PauseWork) -> None:
        if command.leaves:
            self.left.append(command.session_id)
        else:
            self.may_stay[command.session_id] = command.stays_bytes
        if not self.pauses:
            return
        if self.stays and self.saves_bytes <= command.stays_bytes:
            self.send(ev.PauseSaved(command.session_id, "resident", resident_bytes=self.saves_bytes))
            return
        if command.budget_bytes is not None and self.saves_bytes > command.budget_bytes:
            self.send(ev.PauseFailed(command.session_id, "no_room", f"It needs {self.saves_bytes} B."))
            return
        session_id, method = command.session_id, command.methods[0]
        self.send(ev.PauseSaved(session_id, method, self.saves_bytes, comes_back=self.comes_back))

    def get(self, flavor: str | None = "t4", user: str = "alice", *, claim: bool = True, **kwargs: object) -> str:
        self.number += 1
        session_id = f"s{self.number}"
        request = Request(flavor=flavor, **kwargs)  # type: ignore[arg-type]
        commands = self.send(ev.Requested(session_id, user, request))
        assert any(isinstance(c, cmd.Accept) for c in commands), commands
        if claim and self[session_id].state is SessionState.READY:
            self.send(ev.Claimed(session_id))
        return session_id

    def work(self, session_id: str, busy: bool = True, methods: tuple[str, ...] = ("offload",)) -> None:
        """A cell of the session's kernel begins or ends to run."""
        self.send(ev.KernelAttached(session_id, f"kernel-of-{session_id}", None, methods))
        self.send(ev.ActivityReported(session_id, busy))

    def pass_time(self, seconds: float) -> None:
        """Step from deadline to deadline, as the shell does."""
        end = self.now + seconds
        while (due := self.broker.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.send(ev.Ticked())
        self.now = end
        self.send(ev.Ticked())

    def __getitem__(self, session_id: str) -> Session:
        return self.broker.session(session_id)


def order(desk: Desk) -> list[str]:
    """Whose turn comes when."""
    return [s.user for s in in_order(desk.broker.state, desk.now)]


def reason(desk: Desk, session_id: str) -> str:
    """Why a session waits, in words."""
    return waiting_reason(desk.broker.state, desk[session_id]).text


def two_held(desk: Desk, methods: tuple[str, ...] = ("offload",)) -> tuple[str, str]:
    """Sessions of alice and bob on both T4, on which nobody computes."""
    held = desk.get(user="alice"), desk.get(user="bob")
    for session in held:
        desk.work(session, methods=methods)
        desk.work(session, busy=False, methods=methods)
    return held
