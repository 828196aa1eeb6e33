"""Where Kafka and Java are on this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "KAFKA_HOME"
FETCHED = Path(__file__).parents[2] / ".kafka"
"""Where `tools/fetch_kafka.py` puts it."""

OLDEST_JAVA = 17

HOW_TO_GET_KAFKA = (
    f"It needs Java {OLDEST_JAVA} or newer (Debian: sudo apt install openjdk-17-jre-headless) and "
    "Kafka's own files: python tools/fetch_kafka.py fetches them with Maven, or unpack Kafka "
    f"yourself and set {HOME_VARIABLE} to its folder. Without, "
    "labkit.connect('kafka+embedded://') has a small cluster in this process."
)

_JAR = re.compile(r"kafka_2\.\d+-(\d+(?:\.\d+)+)\.jar")
_VERSION = re.compile(r'version "(\d+)')
_ANSWER_S = 20.0


@dataclass(frozen=True, slots=True)
class KafkaHome:
    """A Kafka that can be started.

    Attributes:
        folder: what has `libs/`.
        java: the program that runs it.
        version: "4.4.0".
    """

    folder: Path
    java: Path
    version: str

    @property
    def name(self) -> str:
        """Product and version: "Kafka 4.4.0"."""
        return f"Kafka {self.version}"

    @property
    def class_path(self) -> str:
        """As Java wants it."""
        return str(self.folder / "libs" / "*")


def find_kafka() -> KafkaHome | None:
    """The one that `KAFKA_HOME` names, else the fetched one; None without it or without Java."""
    if os.name != "posix":
        return None  # what watches over a server here needs a Unix
    java = _java()
    if java is None:
        return None
    given = os.environ.get(HOME_VARIABLE)
    for folder in (Path(given).expanduser(),) if given else (FETCHED,):
        for jar in sorted((folder / "libs").glob("kafka_2.*.jar")):
            if found := _JAR.fullmatch(jar.name):
                return KafkaHome(folder.absolute(), java, found[1])
    return None


def _java() -> Path | None:
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home, "bin"))) if home else None
    found = found or shutil.which("java")
    if found is None:
        return None
    try:
        answer = subprocess.run(
            [found, "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = _VERSION.search(answer.stderr + answer.stdout)
    return Path(found) if version and int(version[1]) >= OLDEST_JAVA else None
