"""What a subscriber writes down: each thing once in the counts and once in the trace."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from labkit.broker import Broker, Gap, Received
from labkit.errors import DecodeError, describe
from labkit.patterns.pubsub.incoming import Incoming
from labkit.patterns.pubsub.sequence import Observation
from labkit.patterns.statistics import ErrorRecord, Tally
from labkit.trace import Action


class Ledger:
    """The books of one subscriber."""

    def __init__(self, name: str, lab: Broker) -> None:
        self.tally = Tally()
        self._name = name
        self._clock = lab.clock
        self._trace = lab.trace
        self._our_epochs = f"{lab.clock.id}."

    def about_us(self, action: Action, channel: str | None = None) -> None:
        """Something that we did ourselves."""
        self._trace.record(self._name, action, channel=channel)

    def received(self, items: Sequence[Received]) -> None:
        """Bodies arrived."""
        sizes: dict[str, list[int]] = {}
        for item in items:
            of_channel = sizes.get(item.channel)
            if of_channel is None:
                sizes[item.channel] = [len(item.body)]
            else:
                of_channel.append(len(item.body))
        for channel, of_channel in sizes.items():
            self.tally.add(channel, messages=len(of_channel), bytes=sum(of_channel))

    def unreadable(self, channel: str, error: DecodeError) -> None:
        """It is not a message."""
        self.tally.add(channel, unreadable=1)
        error.__traceback__ = error.__context__ = None  # its frames hold the body
        self.tally.decode_errors.append(error)
        self._trace.record(self._name, Action.UNREADABLE, channel=channel, detail=error.reason)

    def numbered(self, incoming: Incoming, seen: Observation) -> None:
        """What its number says about others."""
        channel = incoming.channel
        if seen.missed_before:
            self.tally.add(channel, missed_before=seen.missed_before)
        if seen.lost:
            self.tally.add(channel, lost=seen.lost)
            for lost_id in seen.lost_ids:
                self._trace.record(self._name, Action.LOST, channel=channel, message_id=lost_id)
        if seen.late:
            self.tally.add(channel, lost=0 if seen.missed_before else -1, out_of_order=1)
        if seen.duplicate:
            self.tally.add(channel, duplicates=1)
            self._about(incoming, Action.DUPLICATE)

    def gap(self, gap: Gap) -> None:
        """The connection is gone, or it is back."""
        if gap.ended is None:
            self.tally.add(None, gaps=1)
            self.tally.gaps.append(gap)
            self._trace.record(self._name, Action.CONNECTION_LOST, detail=gap.reason)
        else:
            self.tally.gaps[-1] = gap
            self._trace.record(self._name, Action.RECONNECTED)

    def dropped(self, incoming: Incoming) -> None:
        """The buffer had no room."""
        self.tally.add(incoming.channel, dropped=1)
        self._about(incoming, Action.DROPPED)

    def filtered(self, incoming: Incoming) -> None:
        """A filter kept it away from the handlers."""
        self.tally.add(incoming.channel, filtered=1)
        self._about(incoming, Action.FILTERED)

    def delivered(self, incoming: Incoming) -> None:
        """It is handed to the handlers now."""
        now_ns = self._clock.monotonic_ns()
        self.tally.seen_at(now_ns)
        metadata = incoming.message.metadata
        epoch = metadata.get("epoch")
        if isinstance(epoch, str) and epoch.startswith(self._our_epochs):
            sent_ns = metadata.get("sent_ns")
            if type(sent_ns) is int and 0 <= sent_ns <= now_ns:
                self.tally.latencies_ns.append(now_ns - sent_ns)
        if self._trace.enabled:
            self._about(incoming, Action.DELIVERED)

    def failed(self, incoming: Incoming, error: BaseException) -> None:
        """A handler or a filter raised."""
        text = describe(error)
        self.tally.add(incoming.channel, callback_errors=1)
        self.tally.errors.append(
            ErrorRecord(incoming.channel, incoming.message.id, text, _place(error))
        )
        self._about(incoming, Action.FAILED, text)

    def told(self, error: BaseException) -> None:
        """The callback that hears of gaps raised."""
        self.tally.add(None, callback_errors=1)
        self.tally.errors.append(ErrorRecord(None, None, describe(error), _place(error)))

    def _about(self, incoming: Incoming, action: Action, detail: str = "") -> None:
        if not self._trace.enabled:
            return
        self._trace.record(
            self._name,
            action,
            channel=incoming.channel,
            message_id=incoming.message.id,
            label=incoming.message.label,
            detail=detail,
        )


def _place(error: BaseException) -> str:
    """The function and the line that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].name}, line {frames[-1].lineno}" if frames else ""
