"""An identity provider for tests: who somebody is, by token, as a hub would say."""

from __future__ import annotations

from typing import Any

from jupyter_server.auth import IdentityProvider, User

__all__ = ["NAMES", "People"]

#: by token
NAMES = {"t0ken": "ada", "t1": "olga"}


class People(IdentityProvider):
    """Lets in who has a token that is in `NAMES`."""

    def get_user(self, handler: Any) -> User | None:
        given = handler.request.headers.get("Authorization", "").removeprefix("token ")
        return User(username=NAMES[given]) if given in NAMES else None

    def is_token_authenticated(self, handler: Any) -> bool:
        return True
