"""Checks of lab 00: send your first message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labkit import Subscriber
from labkit.broker import Lab, Receipt
from labkit.exercises.framework import Wrong, exercise


@exercise(
    "0.1",
    "Announce",
    expects="function",
    correct="The desk published without knowing who listens; the receipt tells how many did.",
)
def check_announce(announce: Callable[[Lab, str, str], Any], lab: Lab) -> None:
    """A board listens; the student's function publishes."""
    with Subscriber(lab, name="board") as board:
        board.psubscribe("*")
        receipt = announce(lab, "gates", "Gate 7 moved")
        heard = board.drain()
    if not heard:
        raise Wrong(
            "No message of a Publisher arrived.",
            'Make a Publisher(lab, sender="desk"), connect it, and call publish(channel, text).',
        )
    if len(heard) > 1:
        raise Wrong(
            f"{len(heard)} messages were published, one was asked for.",
            "Call publish once. A second run of the cell is a second message, too.",
        )
    [incoming] = heard
    if incoming.channel != "gates":
        raise Wrong(
            f"The message went out on {incoming.channel!r}, not on the channel that was given.",
            "Use the parameter: publish(channel, text), without quotes around channel.",
        )
    if incoming.content != "Gate 7 moved":
        raise Wrong(
            f"The message says {incoming.content!r} instead of the text that was given.",
            "Use the parameter: publish(channel, text), without quotes around text.",
        )
    if incoming.message.sender != "desk":
        raise Wrong(
            f"The sender is {incoming.message.sender!r}.",
            'Give the publisher its name when you make it: Publisher(lab, sender="desk").',
        )
    if not isinstance(receipt, Receipt):
        raise Wrong(
            f"The message went out, but the function returned {receipt!r}.",
            "publish(…) returns the receipt: put a return in front of it.",
        )


@exercise(
    "0.2",
    "Be there in time",
    expects="function",
    correct="Subscribe first, publish second, drain third: nothing was kept, and nothing was lost.",
)
def check_hear_the_alert(hear_the_alert: Callable[[Lab, str], Any], lab: Lab) -> None:
    """Only one order of subscribing, publishing and draining works."""
    got = hear_the_alert(lab, "ground stop")
    trace = lab.trace
    if not trace.count("sent"):
        raise Wrong(
            "Nothing was published.",
            'Make a Publisher(lab, sender="tower"), connect it, and publish text on "alerts".',
        )
    if not trace.count("subscribed"):
        raise Wrong(
            "Nobody subscribed.",
            'Make a Subscriber(lab, name="desk"), connect it, and call subscribe("alerts").',
        )
    if trace.select("sent")[0].channel != trace.select("subscribed")[0].channel:
        raise Wrong(
            f"The desk listens to {trace.select('subscribed')[0].channel!r}, "
            f"and the tower speaks on {trace.select('sent')[0].channel!r}.",
            'Both must name the same channel: "alerts".',
        )
    if trace.select("sent")[0].time < trace.select("subscribed")[0].time:
        raise Wrong(
            "The tower published before the desk had subscribed, so the desk heard nothing.",
            "Nothing is kept: put subscribe above publish.",
        )
    if not trace.count("delivered"):
        raise Wrong(
            "The message is on its way, but the desk never took it.",
            "After publishing, call desk.drain(): it returns the messages.",
        )
    if got == [] or got == ():
        raise Wrong(
            "The desk received it, but the function returned an empty list.",
            "drain() hands out each message once: keep what the first call returned.",
        )
    if got != ["ground stop"]:
        raise Wrong(
            f"The desk received it, but the function returned {got!r}.",
            "Return a list of contents: what is the content of one incoming message?",
            "[incoming.content for incoming in desk.drain()]",
        )
