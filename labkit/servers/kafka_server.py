"""A real Kafka on this machine, for as long as it is wanted: one KRaft node on loopback."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from labkit.errors import ConfigurationError, ServerError
from labkit.servers.kafka_config import LOGGING, USER, render
from labkit.servers.kafka_home import HOW_TO_GET_KAFKA, KafkaHome, find_kafka
from labkit.servers.passwords import RANDOM_PASSWORD, Password, chosen
from labkit.servers.process import HOST, ServerProcess, check_port, free_port, write_private
from labkit.servers.server import PortTakenError, Server

DEFAULT_TIMEOUT_S = 60.0
"""Longest wait for an answer: Java on a small machine takes its time."""

HEAP_MB = 256
_FORMAT_S = 60.0
_PORT_ATTEMPTS = 4
_PORT_TAKEN = "Address already in use"
_ANSWER_S = 1.0
_JAVA_OPTIONS = (
    f"-Xmx{HEAP_MB}m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.net.preferIPv4Stack=true",
    "-Djava.awt.headless=true",
)


def start_kafka(
    home: KafkaHome | None = None,
    *,
    port: int | None = None,
    password: Password = RANDOM_PASSWORD,
    config: Mapping[str, str | int | bool] | None = None,
    timeout: float = DEFAULT_TIMEOUT_S,
) -> KafkaServer:
    """Start a Kafka that only this machine can reach, and wait until it answers.

    It ends with `stop()`, at the end of a `with`, and with this process, however that ends.

    Args:
        home: which Kafka; default the one that `find_kafka` finds.
        port: where it listens on 127.0.0.1; default a free one.
        password: what clients must know (SASL/PLAIN, user "labkit"); default a random one,
            contained in `server.url`. None lets in every program and every user of this machine.
        config: more settings as in server.properties: `{"num.partitions": 4}`.
        timeout: seconds to wait for an answer.

    Raises:
        ServerError: no Kafka or no Java found, or it does not start; says why and what to do.
        ConfigurationError: an argument that cannot work.
    """
    if timeout <= 0:
        raise ConfigurationError(f"timeout is in seconds and above 0, got {timeout}.")
    home = home or find_kafka()
    if home is None:
        raise ServerError(f"No Kafka found on this machine. {HOW_TO_GET_KAFKA}")
    server = KafkaServer(
        home,
        port=None if port is None else check_port(port),
        password=chosen(password),
        config=dict(config or {}),
        timeout=timeout,
    )
    return server.start()


class KafkaServer(Server):
    """A Kafka started by `start_kafka`; a context manager that stops it at the end."""

    _RESTART_GRACE_S = 30.0
    _STOP_GRACE_S = 0.0  # nothing has to be written in order

    def __init__(
        self,
        home: KafkaHome,
        *,
        port: int | None,
        password: str | None,
        config: Mapping[str, str | int | bool],
        timeout: float,
    ) -> None:
        super().__init__(home.name, "labkit-kafka-")
        self.home = home
        self._port = port
        self._controller_port: int | None = None
        self._password = password
        self._config = dict(config)
        self._timeout = timeout
        self._cluster_id = _new_cluster_id()
        self._render(port or 1, 2, Path("/"))  # what is wrong with an argument is said at once

    @property
    def url(self) -> str:
        """Where it is, **with** the password: to connect with, not to show."""
        login = "" if self._password is None else f"{USER}:{quote(self._password, safe='')}@"
        return f"kafka://{login}{HOST}:{self.port}"

    @property
    def address(self) -> str:
        """Host and port, as other clients want it: "127.0.0.1:9092"."""
        return f"{HOST}:{self.port}"

    @property
    def password(self) -> str | None:
        """What the user "labkit" must know; None lets everybody in."""
        return self._password

    # --- inside -------------------------------------------------------------------------------

    @property
    def _port_or_none(self) -> int | None:
        return self._port

    def _bring_up(self, process: ServerProcess) -> None:
        if self._port is not None and self._controller_port is not None:
            return self._launch(process, self._port, self._controller_port)
        for _ in range(_PORT_ATTEMPTS):
            port, controller_port = self._port or free_port(), free_port()
            if port == controller_port:
                continue
            with contextlib.suppress(PortTakenError):
                self._launch(process, port, controller_port)
                self._port, self._controller_port = port, controller_port
                return None
        raise ServerError(f"{_PORT_ATTEMPTS} pairs of free ports were taken in a row.")

    def _launch(self, process: ServerProcess, port: int, controller_port: int) -> None:
        data, config = process.folder / "data", process.folder / "server.properties"
        logging = process.folder / "log4j2.properties"
        data.mkdir(mode=0o700, exist_ok=True)
        write_private(config, self._render(port, controller_port, data))
        write_private(logging, LOGGING.encode())
        java = [
            str(self.home.java),
            *_JAVA_OPTIONS,
            f"-Dlog4j2.configurationFile={logging}",
            "-cp",
            self.home.class_path,
        ]
        if not (data / "meta.properties").exists():
            self._format([*java, "kafka.tools.StorageTool"], config)
        try:
            process.start([*java, "kafka.Kafka", str(config)], cwd=data, lock=[data])
            process.wait_ready(lambda: self._answers(port), self._timeout)
        except BaseException as error:
            process.end(grace=0)
            if isinstance(error, ServerError) and _PORT_TAKEN in process.log_text():
                raise PortTakenError(
                    f"Port {port} or {controller_port} is another program's."
                ) from None
            raise

    def _format(self, tool: list[str], config: Path) -> None:
        command = [*tool, "format", f"--cluster-id={self._cluster_id}", "-c", str(config)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_FORMAT_S,
                env={**os.environ, "LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServerError(f"{self.home.name} cannot prepare its folder: {error}.") from None
        if done.returncode != 0:
            last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
            raise ServerError(f"{self.home.name} cannot prepare its folder:\n{last}")

    def _render(self, port: int, controller_port: int, data: Path) -> bytes:
        return render(
            self._config,
            host=HOST,
            port=port,
            controller_port=controller_port,
            password=self._password,
            folder=data,
        )

    def _answers(self, port: int) -> bool:
        """Whether the cluster that we started answers there, and not one that had the port."""
        import socket

        with contextlib.suppress(OSError), socket.create_connection((HOST, port), _ANSWER_S):
            return self._is_ours(port)
        return False

    def _is_ours(self, port: int) -> bool:
        from labkit.servers.kafka_ask import cluster_id

        found = cluster_id(f"{HOST}:{port}", USER, self._password, _ANSWER_S)
        return found == self._cluster_id


def _new_cluster_id() -> str:
    """16 random bytes in Base64; never with a dash in front, which the tool takes for an option."""
    first, *others = secrets.token_bytes(16)
    return base64.urlsafe_b64encode(bytes([first & 0x7F, *others])).decode().rstrip("=")
