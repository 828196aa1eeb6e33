"""Fetch Kafka's jars with Maven, for the tests and labs that want a real Kafka.

    python tools/fetch_kafka.py [FOLDER]

Puts them into FOLDER/libs (default `.kafka` beside this project, which git ignores); nothing
happens if they are there. Maven asks whatever repository this computer's settings name.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "4.4.0"
ARTIFACT = "kafka_2.13"
LOGGING = "2.25.5"  # what lets Kafka write its log; the version that Kafka has of the rest
FOLDER = Path(__file__).parent.parent / ".kafka"
TIMEOUT_S = 600

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>messaging-lab</groupId><artifactId>kafka-home</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>{artifact}</artifactId><version>{version}</version>
  </dependency><dependency>
    <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
    <version>{logging}</version>
  </dependency></dependencies>
</project>
"""


def is_there(folder: Path) -> bool:
    jars = (f"{ARTIFACT}-{VERSION}.jar", f"log4j-slf4j-impl-{LOGGING}.jar")
    return all((folder / "libs" / jar).is_file() for jar in jars)


def fetch(folder: Path) -> None:
    """All jars, or none: they are moved into place when Maven has them all."""
    maven = shutil.which("mvn")
    if maven is None:
        sys.exit(
            "Maven is missing. Install it (Debian: apt install maven), or download Kafka "
            "yourself, unpack it, and set KAFKA_HOME to its folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        pom, libs = Path(work, "pom.xml"), Path(work, "libs")
        pom.write_text(_POM.format(artifact=ARTIFACT, version=VERSION, logging=LOGGING))
        command = [
            maven,
            "-B",
            "-q",
            "-f",
            str(pom),
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={libs}",
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            sys.exit(f"Maven has not finished within {TIMEOUT_S} s. Is there a network?")
        if done.returncode != 0 or not (libs / f"{ARTIFACT}-{VERSION}.jar").is_file():
            last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
            sys.exit(f"Maven could not fetch Kafka {VERSION}. Its last words:\n{last}")
        shutil.rmtree(folder / "libs", ignore_errors=True)
        libs.rename(folder / "libs")


def main() -> None:
    folder = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else FOLDER
    if not is_there(folder):
        fetch(folder)
    print(f"Kafka {VERSION} is in {folder}")


if __name__ == "__main__":
    main()
