"""Draw the picture of the README: a real conversation on a real Redis, with a late and a cut-off
subscriber.

    python tools/make_picture.py docs/space-time.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

import labkit  # noqa: E402
from labkit import Backoff, Publisher, StepClock, Subscriber, plots, servers  # noqa: E402
from labkit.broker import PubSubBroker  # noqa: E402


def conversation(lab: PubSubBroker) -> None:
    """Six messages; the app comes late, and the board's connection is cut."""
    with (
        Publisher(lab, sender="tower") as tower,
        Subscriber(lab, name="JFK board") as board,
        Subscriber(lab, name="app") as app,
    ):

        def tell(channel: str, title: str) -> None:
            tower.publish(channel, {"title": title})
            board.drain()
            if app.connected:
                app.drain()

        board.subscribe("flights.JFK", "alerts.critical")
        tell("flights.JFK", "B6 739 departed")
        tell("flights.JFK", "9E 3483 cancelled")
        app.psubscribe("*")
        tell("alerts.critical", "ground stop")
        lab.native.execute_command("CLIENT", "KILL", "ID", board_connection(lab))
        tower.publish("flights.JFK", {"title": "AA 19 departed"})
        app.drain()
        lab.clock.wait(0.5)
        while not board.stats().gaps:
            board.drain(timeout=1.0)
        tell("flights.JFK", "VX 23 departed")


def board_connection(lab: PubSubBroker) -> str:
    """The id of the connection that subscribes by name."""
    return next(c["id"] for c in lab.native.client_list() if c["sub"] == "2")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip())
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    with (
        servers.start_redis() as server,
        labkit.connect(
            server.url, clock=StepClock(tick=0.1), reconnect=Backoff(first=0.01, cap=0.05)
        ) as lab,
    ):
        conversation(lab)
        figure = plots.space_time(lab.trace)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Software": None})
    print(f"{file}: {figure.alt_text}")


if __name__ == "__main__":
    main()
