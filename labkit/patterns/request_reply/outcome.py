"""What becomes of requests, as objects to read and to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from labkit._html import table
from labkit.errors import LabkitError, RequestTimeout
from labkit.message import Message

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        service: who was asked.
        message: the reply as it came.
        seconds: from sending the request to reading this, on the lab's clock.
    """

    service: str
    message: Message
    seconds: float

    @property
    def content(self) -> Any:
        """What the handler returned."""
        return self.message.content

    @property
    def responder(self) -> str:
        """Who answered."""
        return self.message.sender

    def __repr__(self) -> str:
        return f"Reply({self.content!r} from {self.responder!r} after {self.seconds * 1e3:,.1f} ms)"

    def _repr_html_(self) -> str:
        facts = (("content", self.content), ("responder", self.responder))
        took = ("took", f"{self.seconds * 1e3:,.1f} ms")
        return table(("", "value"), (*facts, took), f"A reply from {self.service!r}")


Result = Reply | LabkitError
"""How a request ended: its reply, or why there is none."""


def reply_of(result: Result) -> Reply:
    """The reply; where there is none, the reason is raised."""
    if isinstance(result, LabkitError):
        raise result
    return result


@dataclass(eq=False, slots=True)
class Pending:
    """A request that is on its way; `Requester.collect` ends it.

    Attributes:
        service: who is asked.
        message: the request.
        correlation_id: which one it is, in its reply, too.
        timeout: seconds that it may take.
        deadline: when that time is over, seconds since 1970 on the lab's clock.
        result: how it ended, or None while it has not.
    """

    service: str
    message: Message
    correlation_id: str
    timeout: float
    deadline: float
    result: Result | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """What a person would call the request."""
        return self.message.label

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.result is not None

    def __repr__(self) -> str:
        state = "waiting" if self.result is None else type(self.result).__name__
        return f"<Pending {self.correlation_id} to {self.service!r}: {state}>"


@dataclass(frozen=True, slots=True)
class Gathered:
    """What several services answered.

    Attributes:
        replies: for each service that answered its reply, the first one first.
        missing: those that had not answered when the waiting ended.
        errors: those that cannot be asked or could not answer, and why.
    """

    replies: Mapping[str, Reply]
    missing: tuple[str, ...]
    errors: Mapping[str, LabkitError]

    def to_frame(self) -> pandas.DataFrame:
        """One row a service: service, outcome, content, responder, seconds."""
        import pandas

        columns = ["service", "outcome", "content", "responder", "seconds"]
        return pandas.DataFrame(self._rows(), columns=columns)

    def _rows(self) -> list[tuple[str, str, Any, str | None, float | None]]:
        rows: list[tuple[str, str, Any, str | None, float | None]] = [
            (name, "replied", reply.content, reply.responder, reply.seconds)
            for name, reply in self.replies.items()
        ]
        rows += [(name, "missing", None, None, None) for name in self.missing]
        rows += [(name, type(e).__name__, str(e), None, None) for name, e in self.errors.items()]
        return rows

    def __repr__(self) -> str:
        lines = [
            f"{name}: {outcome}" + (f" {content!r}" if outcome == "replied" else "")
            for name, outcome, content, _, _ in self._rows()
        ]
        return "\n".join(lines) or "(nobody was asked)"

    def _repr_html_(self) -> str:
        rows = [
            (name, outcome, content, who, None if took is None else f"{took * 1e3:,.1f} ms")
            for name, outcome, content, who, took in self._rows()
        ]
        return table(
            ("service", "outcome", "content", "responder", "took"),
            rows,
            f"{len(self.replies)} of {len(rows)} replied",
        )


def gather(results: Iterable[tuple[str, Result]]) -> Gathered:
    """What each service answered, as one object."""
    pairs = list(results)
    answered = [(name, one) for name, one in pairs if isinstance(one, Reply)]
    return Gathered(
        replies=dict(sorted(answered, key=lambda pair: pair[1].seconds)),
        missing=tuple(name for name, one in pairs if isinstance(one, RequestTimeout)),
        errors={
            name: one
            for name, one in pairs
            if isinstance(one, LabkitError) and not isinstance(one, RequestTimeout)
        },
    )


class Outcome(StrEnum):
    """What a responder did with a request."""

    REPLIED = "replied"
    ERROR = "error"
    EXPIRED = "expired"
    UNREADABLE = "unreadable"
    NO_INBOX = "no inbox"
    NOT_SENT = "not sent"


@dataclass(frozen=True, slots=True)
class Served:
    """A request, and what a responder did with it.

    Attributes:
        request: the request, or None where it was unreadable.
        outcome: "replied"; "error" (the handler failed, and the reply says so); "expired" (its
            deadline had passed; no work was done); "unreadable"; "no inbox" (the work was done,
            but nobody waits for the reply any more); "not sent" (the broker could not be reached).
        error: what went wrong, or "".
    """

    request: Message | None
    outcome: Outcome
    error: str = ""
