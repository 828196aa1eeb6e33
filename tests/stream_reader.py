"""A member of a group in a process of its own, to be killed: `python stream_reader.py GROUP NAME`.

It writes a line for each event that it is given, before it commits: content, position, attempt.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import labkit
from labkit import Backoff, Event, EventStream
from labkit.errors import BrokerUnavailable

FOLDER = "STREAM_READER_FOLDER"
STREAM = "flight-events"
BACKOFF = Backoff(first=0.01, cap=0.2)


def main(group: str, name: str) -> None:
    path = Path(os.environ[FOLDER], f"{group}.{name}")
    with path.open("a", buffering=1) as file:

        def write(event: Event) -> None:
            file.write(f"{event.key}|{event.content}|{event.position}|{event.attempt}\n")

        while True:  # the server may be down while we start
            try:
                with labkit.connect(timeout=30.0, reconnect=BACKOFF, trace=False) as lab:
                    member = EventStream(lab, STREAM).group(group).join(name)
                    member.run(write, timeout=None, count=500)
            except BrokerUnavailable:
                time.sleep(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
