"""What is written can be read again, is the same text everywhere, and what can't be read is one sentence."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field, replace
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swangpu.broker import commands, events
from swangpu.broker.policy import Policy
from swangpu.broker.state import BrokerState, Changes
from swangpu.domain.devices import PoolInventory, Share
from swangpu.domain.sessions import Request, Session
from swangpu.errors import LedgerUnavailable
from swangpu.ledger.codec import decode, encode

EVENTS = {name: getattr(events, name) for name in events.__all__}
COMMANDS = {name: getattr(commands, name) for name in commands.__all__}

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
number = st.floats(allow_nan=False, allow_infinity=False)
st.register_type_strategy(float, number)
st.register_type_strategy(str, text)
# 64 bits, as SQLite and every JSON reader have
st.register_type_strategy(int, st.integers(-(2**63), 2**63 - 1))


@given(st.one_of(*(st.builds(kind) for kind in (*EVENTS.values(), *COMMANDS.values()))))
def test_events_and_commands_come_back(value: object) -> None:
    line = encode(value)
    assert "\n" not in line
    assert decode(line, {**EVENTS, **COMMANDS}) == value
    assert encode(decode(line, {**EVENTS, **COMMANDS})) == line


@given(st.builds(Session), st.builds(PoolInventory), st.builds(Policy), text)
def test_the_state_comes_back(session: Session, inventory: PoolInventory, policy: Policy, key: str) -> None:
    state = BrokerState(
        policy=policy,
        sessions={session.id: session},
        pools={inventory.pool: inventory},
        keys={f"{session.user}\x00{key}": (session.id, 5.0)},
    )
    assert decode(encode(state), {"BrokerState": BrokerState}) == state
    changes = Changes(1.0, 2, (0.5,), policy, {"gone": None}, {session.id: session}, {}, {})
    assert decode(encode(changes), {"Changes": Changes}) == changes


def test_the_text_is_the_same_in_every_process() -> None:
    program = (
        "from swangpu.ledger.codec import encode\n"
        "from swangpu.domain.sessions import Request\n"
        "from swangpu.broker.events import Requested\n"
        "print(encode(Requested('s', 'alice', Request(flavor='t4', options=(('a', 'b'),)))))"
    )
    lines = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(lines) == 1


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    colour: Colour = Colour.RED


@dataclass(frozen=True)
class Older:
    inner: tuple[Inner, ...] = (Inner(),)
    rows: dict[str, Inner | None] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"type":"Older","inner":[],"rows":{},"newer":1}', "Older.newer"),
        ('{"type":"Older","inner":[{"colour":"red","newer":1}]}', r"Older\.inner\[\]\.newer"),
        ('{"type":"Older","rows":{"a":{"colour":"red","newer":1}}}', r"Older\.rows\.a\.newer"),
        ('{"type":"Newer"}', "'Newer'"),
        ('{"inner":[]}', "'type'"),
        ('{"type":"Older","inner":[{"colour":"blue"}]}', "can't be read"),
        ('{"type":"Older","inner"', "can't be read"),
        ("[" * 100_000, "can't be read"),
        ("[]", "can't be read"),
        ("null", "can't be read"),
        ("", "can't be read"),
    ],
)
def test_what_another_version_wrote_is_one_sentence(line: str, what: str) -> None:
    with pytest.raises(LedgerUnavailable, match=what) as raised:
        decode(line, {"Older": Older})
    assert raised.value.hint
    assert raised.value.code == "ledger_unreadable"


def test_fields_that_were_added_since_have_their_defaults() -> None:
    assert decode('{"type":"Older"}', {"Older": Older}) == Older()


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_could_not_be_read_again_is_not_written(value: float) -> None:
    with pytest.raises(LedgerUnavailable) as raised:
        encode(events.Requested("s", "alice", replace(Request(), duration_s=value)))
    assert raised.value.code == "ledger_not_finite"


def test_a_share_keeps_its_kind() -> None:
    fleet = {"Share": Share}
    line = '{"type":"Share","id":"a","pool":"p","flavor":"f","kind":"mig","device_uuid":"d","memory_bytes":1}'
    assert decode(line, fleet).kind.value == "mig"
