"""What the handlers are given by a front door: where the broker is, and who asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from ..domain.sessions import EndCause, Reason, Session
from ..runtime import Runtime
from .lookout import Lookout
from .views import Known

__all__ = ["ApiContext", "Elsewhere"]


class Elsewhere(Protocol):
    """The broker is another process: its base URL, and a token that is good for our API there."""

    @property
    def url(self) -> str: ...

    @property
    def token(self) -> str: ...


async def nobody_at(path: str) -> str | None:
    """A front door without notebooks of its own."""
    return None


@dataclass
class ApiContext:
    """Given by ``server`` or ``hub``.

    Attributes
    ----------
    place : callable
        Where the broker is: a `Runtime` of this process, or how to reach another one.
    owner : callable
        The name of the person whom an authenticated handler acts for.
    is_operator : callable
        Whether that person sees everybody's sessions.
    token : str
        Good for this API only: for kernels, the command line and other servers of the same person.
    token_owner : str
        Whom that token acts for.
    kernel_at : callable
        The kernel of this front door's own notebook at a path, asked before a call goes to another one.
    """

    place: Callable[[], Awaitable[Runtime | Elsewhere]]
    owner: Callable[[Any], str]
    token: str
    token_owner: str
    is_operator: Callable[[Any], bool] = lambda handler: False
    other_ends: Callable[[Session], list[tuple[float, EndCause]]] = lambda session: []
    warnings: Callable[[Runtime], Mapping[str, Reason]] = lambda runtime: {}
    version: str = ""
    kernel_at: Callable[[str], Awaitable[str | None]] = nobody_at
    #: what there is to tell of each runtime, made once for all streams
    boards: WeakKeyDictionary[Runtime, Any] = field(default_factory=WeakKeyDictionary)
    #: who has cells profiled now
    lookout: Lookout = field(default_factory=Lookout)
    #: when somebody last looked at the same offers, so that a view is counted once
    looked: dict[tuple[object, ...], float] = field(default_factory=dict)

    def known(self, runtime: Runtime) -> Known:
        """What views need beside the state."""
        return Known(
            now=runtime.now(),
            pool_as_of=runtime.pool_as_of,
            path=runtime.kernel_path,
            environment=runtime.environment,
            other_ends=self.other_ends,
            warnings=self.warnings(runtime),
        )
