"""Passwords of the servers that are started here: a random one, unless somebody wants another."""

from __future__ import annotations

import secrets
from enum import Enum
from typing import Final, Literal, TypeAlias


class _Password(Enum):
    RANDOM = "random"


RANDOM_PASSWORD: Final = _Password.RANDOM
"""A new password that nobody can guess, for each server."""

Password: TypeAlias = str | Literal[_Password.RANDOM] | None
"""What clients must know; None lets in every program and every user of this machine."""


def chosen(password: Password) -> str | None:
    """The password itself; a random one of 32 characters that need no quoting in a URL."""
    return secrets.token_urlsafe(24) if isinstance(password, _Password) else password
