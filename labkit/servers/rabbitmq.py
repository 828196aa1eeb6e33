"""A real RabbitMQ node on this machine, for as long as it is wanted."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from labkit.errors import ConfigurationError, ServerError
from labkit.servers.process import HOST, ServerProcess, check_port, free_port
from labkit.servers.rabbitmq_binaries import (
    HOW_TO_INSTALL_RABBITMQ,
    RabbitBinary,
    find_rabbitmq,
)
from labkit.servers.rabbitmq_config import (
    LAUNCHER,
    Login,
    Ports,
    check_settings,
    environment,
    lets_in,
    write_files,
)
from labkit.servers.server import PortTakenError, Server

DEFAULT_TIMEOUT_S = 60.0
"""Longest wait for a node to answer after it was started: 3 to 5 s on a quiet machine."""

CONTROL_TIMEOUT_S = 60.0
"""Longest wait for rabbitmqctl, which starts an Erlang machine of its own."""

_PORT_ATTEMPTS = 4
_PORT_TAKEN = ("eaddrinuse", "address already in use", "Address already in use")


def start_rabbitmq(
    binary: RabbitBinary | None = None,
    *,
    port: int | None = None,
    management: bool = False,
    max_memory: str = "512MB",
    config: Mapping[str, str | int] | None = None,
    timeout: float = DEFAULT_TIMEOUT_S,
) -> RabbitServer:
    """Start a RabbitMQ node that only this machine can reach, and wait until it answers AMQP.

    User and password are random, and contained in `server.url`. The node, its epmd and its folder
    end with `stop()`, at the end of a `with`, and with this process, however that ends.

    Args:
        binary: which RabbitMQ; default the one that `find_rabbitmq` finds.
        port: where it listens on 127.0.0.1; default a free one.
        management: also its management page and HTTP interface: `server.management_url`.
        max_memory: above it an alarm blocks publishers ("256MB"); RabbitMQ's
            `vm_memory_high_watermark.absolute`.
        config: more lines as in rabbitmq.conf: `{"heartbeat": 10}`.
        timeout: seconds to wait for an answer.

    Raises:
        ServerError: no RabbitMQ found, or it does not start; says why and what to do.
        ConfigurationError: an argument that cannot work.
    """
    if timeout <= 0:
        raise ConfigurationError(f"timeout is in seconds and above 0, got {timeout}.")
    settings = {"vm_memory_high_watermark.absolute": max_memory, **(config or {})}
    check_settings(settings)
    binary = binary or find_rabbitmq()
    if binary is None:
        raise ServerError(f"No RabbitMQ server found on this machine. {HOW_TO_INSTALL_RABBITMQ}")
    wanted = None if port is None else check_port(port)
    return RabbitServer(binary, wanted, management, settings, timeout).start()


class RabbitServer(Server):
    """A RabbitMQ node started by `start_rabbitmq`; a context manager that stops it at the end."""

    _RESTART_GRACE_S = 15.0

    def __init__(
        self,
        binary: RabbitBinary,
        port: int | None,
        management: bool,
        settings: Mapping[str, str | int],
        timeout: float,
    ) -> None:
        super().__init__(binary.name, "labkit-rabbitmq-")
        self.binary = binary
        self.node = f"lab-{secrets.token_hex(4)}@localhost"
        self._login = Login.random()
        self._cookie = secrets.token_hex(20).upper()
        self._wanted_port = port
        self._management = management
        self._settings = dict(settings)
        self._timeout = timeout
        self._ports: Ports | None = None

    @property
    def url(self) -> str:
        """Where it is, **with** user and password: to connect with, not to show."""
        user, password = quote(self._login.user, safe=""), quote(self._login.password, safe="")
        return f"amqp://{user}:{password}@{HOST}:{self.port}/%2F"

    @property
    def user(self) -> str:
        """Who may come in."""
        return self._login.user

    @property
    def password(self) -> str:
        """What that user must know."""
        return self._login.password

    @property
    def management_url(self) -> str:
        """Where its management page is, without user and password.

        Raises:
            ServerError: it was started without.
        """
        port = self._known_ports().management
        if port is None:
            raise ServerError("This node has no management page: start_rabbitmq(management=True).")
        return f"http://{HOST}:{port}"

    @property
    def folder(self) -> Path:
        """Its private folder: configuration, data, log."""
        return self._living().folder

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl ARGUMENTS` prints about this node. It takes a second or two.

        Raises:
            ServerError: it failed; with what it said.
        """
        folder = self._living().folder
        settings = environment(self.binary, folder, self._known_ports(), self.node)
        command = [str(self.binary.control), "--node", self.node, "--quiet", *arguments]
        try:
            answer = subprocess.run(
                command,
                env={**os.environ, **settings},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=CONTROL_TIMEOUT_S,
                text=True,
                errors="replace",
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServerError(f"rabbitmqctl {arguments[0]} cannot be run: {error}.") from None
        if answer.returncode:
            said = (answer.stderr or answer.stdout).strip()
            raise ServerError(f"rabbitmqctl {arguments[0]} failed: {said}")
        return answer.stdout

    def _known_ports(self) -> Ports:
        if self._ports is None:
            raise ServerError(f"{self.binary.name} has no port before it is started.")
        return self._ports

    @property
    def _port_or_none(self) -> int | None:
        return None if self._ports is None else self._ports.amqp

    def _bring_up(self, process: ServerProcess) -> None:
        if self._ports is not None:
            return self._launch(process, self._ports)
        for _ in range(_PORT_ATTEMPTS):
            ports = Ports(
                amqp=self._wanted_port or free_port(),
                distribution=free_port(),
                epmd=free_port(),
                management=free_port() if self._management else None,
            )
            try:
                self._launch(process, ports)
            except PortTakenError:
                if self._wanted_port is not None:
                    raise
                continue
            self._ports = ports
            return None
        raise ServerError(f"{_PORT_ATTEMPTS} times a free port was taken. Pass port=….")

    def _launch(self, process: ServerProcess, ports: Ports) -> None:
        folder = process.folder
        write_files(folder, ports, self._login, self._settings, self._cookie)
        try:
            process.start(
                ["/bin/sh", "-c", LAUNCHER],
                cwd=folder,
                env=environment(self.binary, folder, ports, self.node),
            )
            process.wait_ready(lambda: lets_in(ports.amqp, self._login), self._timeout)
        except BaseException as error:
            process.end(grace=0)
            said = process.log_text()
            if isinstance(error, ServerError) and any(words in said for words in _PORT_TAKEN):
                raise PortTakenError(
                    f"Port {ports.amqp} of {HOST}, or another that the node needs, is taken by "
                    "another program. Pass another port=…, or none to get a free one."
                ) from None
            raise
