"""A real Redis or Valkey on this machine, for as long as it is wanted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from labkit.errors import ConfigurationError, ServerError
from labkit.servers.binaries import HOW_TO_INSTALL, RedisBinary, find_redis
from labkit.servers.passwords import RANDOM_PASSWORD, Password, chosen
from labkit.servers.process import HOST, ServerProcess, check_port, free_port, write_private
from labkit.servers.redis_config import Value, render
from labkit.servers.server import PortTakenError, Server

DEFAULT_TIMEOUT_S = 10.0
"""Longest wait for a server to answer after it was started."""

_PORT_ATTEMPTS = 8
_PORT_TAKEN = "Address already in use"
_ANSWER_S = 0.3  # one look; there are more until the time is up
_APPENDFSYNC = ("always", "everysec", "no")


def start_redis(
    binary: RedisBinary | None = None,
    *,
    port: int | None = None,
    password: Password = RANDOM_PASSWORD,
    append_only: bool = False,
    appendfsync: Literal["always", "everysec", "no"] = "everysec",
    max_memory: int | str | None = None,
    folder: str | os.PathLike[str] | None = None,
    config: Mapping[str, Value] | None = None,
    timeout: float = DEFAULT_TIMEOUT_S,
) -> RedisServer:
    """Start a Redis or Valkey that only this machine can reach, and wait until it answers.

    It ends with `stop()`, at the end of a `with`, and with this process, however that ends.

    Args:
        binary: which server; default the one that `find_redis` finds.
        port: where it listens on 127.0.0.1; default a free one.
        password: what clients must know; default a random one, contained in `server.url`.
            None lets in every program and every user of this machine.
        append_only: write each change to an append-only file, and read it back after a restart.
            Otherwise nothing is kept.
        appendfsync: when that file is forced to the disk.
        max_memory: limit for data, in bytes or as "64mb".
        folder: where the data files are; it is created if it is not there, and never removed.
            Default a private temporary folder, removed with the server.
        config: more directives as in redis.conf: `{"maxmemory-policy": "allkeys-lru"}`.
        timeout: seconds to wait for an answer.

    Raises:
        ServerError: no server found, or it does not start; says why and what to do.
        ConfigurationError: an argument that cannot work.
    """
    if appendfsync not in _APPENDFSYNC:
        raise ConfigurationError(
            f"appendfsync is one of {', '.join(_APPENDFSYNC)}, got {appendfsync!r}."
        )
    if timeout <= 0:
        raise ConfigurationError(f"timeout is in seconds and above 0, got {timeout}.")
    directives: dict[str, Value] = {"appendonly": append_only, "appendfsync": appendfsync}
    if max_memory is not None:
        directives["maxmemory"] = max_memory
    binary = binary or find_redis()
    if binary is None:
        raise ServerError(f"No Redis or Valkey server found on this machine. {HOW_TO_INSTALL}")
    server = RedisServer(
        binary,
        port=None if port is None else check_port(port),
        password=chosen(password),
        folder=None if folder is None else Path(folder).expanduser().absolute(),
        directives=directives | dict(config or {}),
        timeout=timeout,
    )
    return server.start()


class RedisServer(Server):
    """A Redis or Valkey started by `start_redis`; a context manager that stops it at the end."""

    def __init__(
        self,
        binary: RedisBinary,
        *,
        port: int | None,
        password: str | None,
        folder: Path | None,
        directives: Mapping[str, Value],
        timeout: float,
    ) -> None:
        super().__init__(binary.name, "labkit-redis-")
        self.binary = binary
        self._port = port
        self._password = password
        self._folder = folder
        self._directives = dict(directives)
        self._timeout = timeout
        self._render(port or 1, Path("/"))  # what is wrong with an argument is said at once

    @property
    def url(self) -> str:
        """Where it is, **with** the password: to connect with, not to show."""
        login = "" if self._password is None else f":{quote(self._password, safe='')}@"
        return f"redis://{login}{HOST}:{self.port}/0"

    @property
    def password(self) -> str | None:
        """What clients must know; None lets everybody in."""
        return self._password

    @property
    def folder(self) -> Path:
        """Where its data files are.

        Raises:
            ServerError: it was in a temporary folder that went with the server.
        """
        return self._folder or super().folder

    @property
    def _port_or_none(self) -> int | None:
        return self._port

    def _bring_up(self, process: ServerProcess) -> None:
        if self._port is not None:
            return self._launch(process, self._port)
        for port in (free_port() for _ in range(_PORT_ATTEMPTS)):
            with contextlib.suppress(PortTakenError):
                self._launch(process, port)
                self._port = port
                return None
        raise ServerError(f"{_PORT_ATTEMPTS} free ports were taken in a row. Pass port=….")

    def _launch(self, process: ServerProcess, port: int) -> None:
        data = self._folder or process.folder / "data"
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ServerError(f"{data} cannot be the data folder: {error.strerror}.") from None
        config = process.folder / "server.conf"
        write_private(config, self._render(port, data))
        try:
            pid = process.start(
                [str(self.binary.path), str(config)],
                cwd=data,
                env={"LC_ALL": "C"},  # Redis 7.2 refuses a locale that is not installed
                lock=[data],
            )
            process.wait_ready(lambda: self._answers(port, pid), self._timeout)
        except BaseException as error:
            ended = not process.running
            process.end(grace=0)
            if isinstance(error, ServerError) and ended and _PORT_TAKEN in process.log_text():
                raise PortTakenError(
                    f"Port {port} of {HOST} is taken by another program. "
                    "Pass another port=…, or none to get a free one."
                ) from None
            raise

    def _render(self, port: int, data: Path) -> bytes:
        return render(self._directives, host=HOST, port=port, password=self._password, folder=data)

    def _answers(self, port: int, pid: int) -> bool:
        """Whether the process that we started answers there, and not one that had the port."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        client = redis.Redis(
            host=HOST,
            port=port,
            password=self._password,
            socket_timeout=_ANSWER_S,
            socket_connect_timeout=_ANSWER_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        try:
            return bool(client.ping()) and client.info("server")["process_id"] == pid
        except (redis.RedisError, OSError):
            return False
        finally:
            client.close()
