"""The embedded broker: fakeredis, in this process.

"embedded://" is a new, empty broker; "embedded://shop" is the one that this process shares under
the name "shop", for as long as somebody holds it.
"""

from __future__ import annotations

import threading
import weakref
from importlib.metadata import version as installed_version
from typing import Any

import redis
from fakeredis import FakeRedis, FakeServer

_shared: weakref.WeakValueDictionary[str, FakeServer] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def fake_redis(url: str, settings: dict[str, Any]) -> redis.Redis:
    """A client of the embedded broker that the URL means."""
    return FakeRedis(server=_server(url), **settings)


def _server(url: str) -> FakeServer:
    """The server that an embedded URL means."""
    name = url.removeprefix("embedded://").strip("/")
    if not name:
        return FakeServer()
    with _lock:
        server = _shared.get(name)
        if server is None:
            server = _shared[name] = FakeServer()
        return server


def version() -> str:
    """fakeredis' version."""
    return installed_version("fakeredis")
