"""Idle -> warn -> pause -> release: what is taken from whom, for those who wait in vain.

Nothing is taken while nobody waits for it, and never while a cell runs. A session that can be paused is: its variables
stay. One that can't is warned first and then released. A policy that advises only counts, one that warns only tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..domain.devices import Share
from ..domain.rows import replace
from ..domain.sessions import EndReason, Reason, Session, SessionState
from . import hostroom, pausing, residents
from .commands import Command
from .deadline import at_longest, gives_way_at, is_kept
from .exclusion import conflict
from .lifecycle import begin_end, cut_off, notify, settle_advice, title_of
from .policy import Quota, Reclaim, ReclaimMode
from .queue import Candidate, in_the_way, is_on, options_of, place, tied_to
from .quotas import borrowers, borrows, over
from .residents import is_leaving, leaves_first, may_move_out
from .state import BrokerState
from .words import span

__all__ = ["idle_over", "make_room", "memory_short", "wanted_back"]


@dataclass
class _Plan:
    """Who gives way in this round.

    Attributes
    ----------
    ignoring : set of str
        Ids of shares that are free as good as now.
    used : set of str
        Ids of those that are meant for somebody already.
    idle, ready : list of Session
        Who holds something and computes on nothing; of these, who has been idle for long enough.
    by_place, by_option : dict
        Of those who are ready, who is on a device or MIG device, and who is in the way of a pool's flavor.
    called : set of str
        Ids of those who have borrowed what somebody who waits gets after a notice.
    leaving, movable, out : set of str
        Ids of residents that are gone as good as now, of those that can be moved out, and of those that are to be.
    stays : dict
        Of those who are chosen, how many bytes may stay on the device beside who comes.
    """

    ignoring: set[str]
    used: set[str]
    idle: list[Session]
    ready: list[Session]
    chosen: dict[str, str]
    by_place: dict[str, list[Session]]
    by_option: dict[tuple[str, str], list[Session]]
    called: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)
    movable: set[str] = field(default_factory=set)
    out: set[str] = field(default_factory=set)
    stays: dict[str, int] = field(default_factory=dict)

    def victims(self, state: BrokerState, option: Candidate, tied: str | None) -> list[Session]:
        """Of those who are ready, who could make room for one way to serve somebody."""
        if tied is not None:
            return [v for v in self.by_place.get(tied, ()) if in_the_way(state, v, option)]
        key = (option.pool, option.flavor.name)
        known = self.by_option.get(key)
        if known is None:
            known = self.by_option[key] = [v for v in self.ready if in_the_way(state, v, option)]
        return known


def make_room(state: BrokerState, unserved: Sequence[Session], now: float) -> list[Command]:
    """Have as many idle sessions give way as those who wait can use.

    Parameters
    ----------
    unserved : sequence of Session
        Who waits though nothing but other sessions is in the way, first ones first.
    """
    index = state.index
    if not unserved and not index.advised:
        return []
    coming = {share.id for i in index.coming for share in state.sessions[i].shares}
    ready = [
        s
        for s in (state.sessions[i] for i, at in index.idle.items() if at is not None and at <= now)
        if s.lost_since is None
    ]
    ready.sort(key=_idle_for)
    # what was lent goes back however short it has been idle
    lends = any(group.quotas for group in state.policy.groups)
    rows = sorted((state.sessions[i] for i in index.idle), key=_idle_for) if lends else ready
    places: dict[str, list[Session]] = {}
    for one in ready:
        for where in dict.fromkeys(w for s in one.shares for w in (s.device_uuid, s.mig_uuid) if w is not None):
            places.setdefault(where, []).append(one)
    plan = _Plan(coming, set(), rows, ready, {}, places, {})
    staying = residents.everybody(state)
    plan.leaving = {s.id for s in staying if is_leaving(s)}
    plan.movable = {s.id for s in staying if may_move_out(s, now)}
    out: list[Command] = []
    for session in unserved:
        if not _served_by(state, session, plan, now):
            out += _call_back(state, session, plan, now)
    concerned = dict.fromkeys((*plan.chosen, *index.advised))
    for session_id in [s.id for s in sorted((state.sessions[i] for i in concerned), key=_idle_for)]:
        why = plan.chosen.get(session_id)
        session = state.sessions[session_id]
        if session.state is not SessionState.ACTIVE and not is_kept(session):
            continue
        if why is not None:
            out += _give_way(state, session, why, now, plan.stays.get(session_id, 0))
        elif session.advised_from is not None:
            state.put_session(settle_advice(session, now))
    for session in sorted((state.sessions[i] for i in plan.out), key=leaves_first):
        if not _later(state, session):
            out += pausing.move_out(state, session, now)
    return out


def memory_short(state: BrokerState, uuid: str, now: float) -> list[Command]:
    """Who holds a device needs more of it than is left: all who have stayed there leave, the longest idle first.

    For whom there may be room in host memory in a moment, and is none yet, waits for the next time that this is said.
    """
    there = [s for s in residents.everybody(state) if any(is_on(share, uuid) for share in residents.place_of(s))]
    out: list[Command] = []
    for session in sorted((s for s in there if may_move_out(s, now)), key=leaves_first):
        if not hostroom.worth_a_wait(state, session):
            out += pausing.move_out(state, session, now)
    return out


def idle_over(state: BrokerState, session: Session, wanted: bool, now: float) -> list[Command]:
    """The time of an idle session that was warned is over: it goes, if somebody still waits."""
    if session.idle_since is None or not wanted:
        state.put_session(replace(session, idle_ends_at=None))
        return []
    minutes = max(1, round((now - session.idle_since) / 60))
    title = title_of(state, session)
    reason = Reason("idle", f"Nobody computed on it for {minutes} min, and somebody waited.", (("minutes", minutes),))
    told = notify(session, "reclaimed", "warning", f"{title}: {reason.text}", title=title, minutes=minutes)
    return [*begin_end(state, session, EndReason.RECLAIMED, now, reason=reason), told]


def _served_by(state: BrokerState, waiting: Session, plan: _Plan, now: float) -> bool:
    """Whether somebody who waits will be served: by what is coming free, or by an idle session that is chosen here.

    A policy that does not enforce chooses too, to count; nobody is served by that.
    """
    options = [c for c in options_of(state, waiting) if over(state, waiting, c.flavor.name, c.fraction) is None]
    ignoring = frozenset(plan.ignoring - plan.used)
    for option in options:
        if _take(state, waiting, option, plan, ignoring, now):
            return True
    tied = tied_to(waiting)
    through = plan.leaving | plan.movable
    for option in options if through else ():
        found = place(state, waiting, option, now, barred=plan.used, ignoring=ignoring, through=through)
        if found is not None:
            plan.used |= {s.id for s in found}
            _share_memory(state, waiting, found, plan)
            return True
    for option in options:
        own = not borrows(state, waiting, option.flavor.name, option.fraction)
        lent = {s.id for s in borrowers(state, option.flavor.name)} if own and state.policy.groups else set()
        trial: dict[str, str] = {}
        shares: set[str] = set()
        for victim in plan.idle if lent else plan.victims(state, option, tied):
            if victim.id in plan.chosen or victim.pool != option.pool or victim.id == waiting.id:
                continue
            why = "quota" if victim.id in lent else "idle"
            if lent and not (_may_give_way(state, victim, why, now) and in_the_way(state, victim, option)):
                continue
            trial[victim.id] = why
            shares |= {s.id for s in victim.shares}
            found = place(
                state,
                waiting,
                option,
                now,
                barred=plan.used,
                ignoring=ignoring | shares,
                through=through,
            )
            if found is None:
                continue
            # only those that are really in the way of what was found
            for victim_id, reason in trial.items():
                if any(conflict(a, b) for a in state.sessions[victim_id].shares for b in found):
                    plan.chosen[victim_id] = reason
                    plan.ignoring |= {s.id for s in state.sessions[victim_id].shares}
            plan.used |= {s.id for s in found}
            enforced = state.policy.reclaim_of(option.pool).mode is ReclaimMode.ENFORCE
            if enforced:
                _share_memory(state, waiting, found, plan, [i for i in trial if i in plan.chosen])
            return enforced
    return False


def _share_memory(
    state: BrokerState, waiting: Session, found: Sequence[Share], plan: _Plan, victims: Sequence[str] = ()
) -> None:
    """Who has to leave the device for somebody who waits, and what those who give way may leave there."""
    for share in found:
        staying = [s for s in residents.beside(state, waiting, share) if s.id not in plan.leaving]
        left = share.memory_bytes - residents.need_bytes(waiting, share) - sum(map(residents.bytes_of, staying))
        for one in sorted(staying, key=leaves_first):
            if left < 0 and one.id in plan.movable:
                plan.leaving.add(one.id)
                plan.out.add(one.id)
                left += residents.bytes_of(one)
        for victim_id in victims:
            if any(conflict(mine, share) for mine in state.sessions[victim_id].shares):
                plan.stays[victim_id] = max(0, left)
                # how much of it that will be is not known yet
                left = 0


def _take(
    state: BrokerState, waiting: Session, option: Candidate, plan: _Plan, ignoring: frozenset[str], now: float
) -> bool:
    if not ignoring and not plan.leaving:
        return False
    found = place(state, waiting, option, now, barred=plan.used, ignoring=ignoring, through=plan.leaving)
    if found is None:
        return False
    plan.used |= {s.id for s in found}
    return True


def _may_give_way(state: BrokerState, victim: Session, why: str, now: float) -> bool:
    if victim.busy or victim.lost_since is not None:
        return False
    policy = state.policy
    if why == "quota":
        # what was lent is wanted back: idleness is enough, however short
        return (victim.held_from or 0.0) + policy.reclaim_of(victim.pool or "").residency_s <= now
    at = gives_way_at(policy, victim)
    return at is not None and at <= now


def _give_way(state: BrokerState, session: Session, why: str, now: float, stays_bytes: int) -> list[Command]:
    rule = state.policy.reclaim_of(session.pool or "")
    can_pause = bool(pausing.methods_of(state, session)) and (session.pause_again_at or 0.0) <= now
    if rule.mode is ReclaimMode.ENFORCE:
        # Who was warned because a pause has failed is left alone: with each attempt the warning would begin anew.
        if can_pause and (session.idle_ends_at is None or session.pause_again_at is None):
            if _later(state, session):
                return []
            return pausing.begin(state, session, why, now, stays_bytes if rule.resident else 0)
        return _warn(state, session, rule, now) if session.idle_ends_at is None else []
    if session.advised_from is not None:
        return []
    state.put_session(replace(session, advised_from=now))
    if rule.mode is ReclaimMode.ADVISE:
        return []
    title, minutes = title_of(state, session), _idle_minutes(session, now)
    text = f"{title} has been idle for {minutes} min, and somebody waits for it. Please release it if you can."
    return [notify(session, "idle_wanted", "warning", text, "release", title=title, minutes=minutes)]


def _later(state: BrokerState, session: Session) -> bool:
    """Whether others have to be moved before it."""
    moving = sum(1 for pool in state.index.moving.values() if pool == session.pool)
    return moving >= state.policy.reclaim_of(session.pool or "").moves or hostroom.worth_a_wait(state, session)


def _warn(state: BrokerState, session: Session, rule: Reclaim, now: float) -> list[Command]:
    ends_at = now + rule.grace_s
    state.put_session(replace(session, idle_ends_at=ends_at))
    title, minutes = title_of(state, session), _idle_minutes(session, now)
    text = f"{title} has been idle for {minutes} min, and somebody waits for it. It goes back in {span(rule.grace_s)}."
    actions = ("release",) if at_longest(session) else ("extend", "release")
    return [notify(session, "idle_ends", "warning", text, *actions, title=title, minutes=minutes, ends_at=ends_at)]


def _call_back(state: BrokerState, waiting: Session, plan: _Plan, now: float) -> list[Command]:
    """What others have borrowed of what is this group's own goes back after a notice, though they compute.

    As much as is wanted: what was called back already, for somebody who waited then or at an earlier look, counts.
    """
    if not state.policy.groups:
        return []
    tied = tied_to(waiting)
    out: list[Command] = []
    for option in options_of(state, waiting):
        if not _is_own(state, waiting, option):
            continue
        missing = waiting.request.count
        for one in borrowers(state, option.flavor.name):
            if missing <= 0:
                break
            if one.state is not SessionState.ACTIVE or one.group == waiting.group or one.id in plan.called:
                continue
            if tied is not None and not any(is_on(s, tied) for s in one.shares):
                continue
            plan.called.add(one.id)
            missing -= len(one.shares)
            out += _recall(state, one, now)
        if missing < waiting.request.count:
            break
    return out


def _recall(state: BrokerState, session: Session, now: float) -> list[Command]:
    ends = now + state.policy.quota_notice_s
    if session.lease_cause == "quota" or session.lease_until is None or session.lease_until <= ends:
        # it goes back by then in any case
        return []
    state.put_session(replace(cut_off(session, ends, "quota"), warned_s=None))
    title, left_s = title_of(state, session), state.policy.quota_notice_s
    text = f"{title} was lent to your group and is wanted back: it goes back in {span(left_s)}."
    return [notify(session, "called_back", "warning", text, "release", title=title, left_s=left_s)]


def wanted_back(state: BrokerState, session: Session) -> bool:
    """Whether somebody waits for what is their group's own, and was lent to this session's."""
    return any(
        over(state, waiting, option.flavor.name, option.fraction) is None
        and _is_own(state, waiting, option)
        and any(one.id == session.id for one in borrowers(state, option.flavor.name))
        for waiting in (state.sessions[i] for i in state.index.waiting)
        if waiting.group != session.group
        for option in options_of(state, waiting)
    )


def _is_own(state: BrokerState, waiting: Session, option: Candidate) -> bool:
    """Whether what somebody waits for is their group's own: within what a quota names as that."""
    named = any(q.matches(option.flavor.name) for q in _quotas(state, waiting.group))
    return named and not borrows(state, waiting, option.flavor.name, option.fraction)


def _quotas(state: BrokerState, name: str) -> tuple[Quota, ...]:
    group = state.policy.group(name)
    return group.quotas if group is not None else ()


def _idle_for(session: Session) -> tuple[float, int]:
    """Who has been idle for longest goes first."""
    return (session.idle_since or 0.0, session.number)


def _idle_minutes(session: Session, now: float) -> int:
    return max(1, round((now - (session.idle_since or now)) / 60))
