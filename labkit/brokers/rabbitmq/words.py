"""What RabbitMQ answers, in words: its code, what it means, and what to do next."""

from __future__ import annotations

import re

_MEANINGS = {
    311: "the message is larger than the broker takes: send a reference to it instead",
    320: "somebody closed the connection on the broker's side (a shutdown, or an administrator)",
    403: "this user may not do that: ask for the permission, or use another name or virtual host",
    404: "there is no such exchange or queue: declare it before it is used",
    405: "it is exclusive to another connection, and ends with that one",
    406: "what was asked does not fit to what is there",
    504: "the channel was used after it had been closed",
    530: "the broker does not allow that here",
    540: "this kind of queue cannot do that",
    541: "the broker itself failed; its log says why",
}
_NAMES = {
    311: "CONTENT_TOO_LARGE",
    320: "CONNECTION_FORCED",
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    405: "RESOURCE_LOCKED",
    406: "PRECONDITION_FAILED",
    504: "CHANNEL_ERROR",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
    541: "INTERNAL_ERROR",
}
_OTHER_ARGUMENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']*)' for (?P<kind>\w+) '(?P<name>[^']*)'.*?"
    r"received (?P<received>.*?) but current is (?P<current>.*)",
    re.DOTALL,
)


def closed_channel(code: int, text: str) -> str:
    """Why the broker closed a channel: "406 PRECONDITION_FAILED: …"."""
    head = f"RabbitMQ closed the channel: {code} {_NAMES.get(code, '')}".rstrip()
    differs = _OTHER_ARGUMENT.search(text)
    if differs:
        return (
            f"{head}. The {differs['kind']} {differs['name']!r} is there already, and its "
            f"{differs['argument']!r} is {_plain(differs['current'])}, not "
            f"{_plain(differs['received'])} as was declared now. Declaring again changes nothing: "
            "use the same arguments, another name, or delete it first."
        )
    meaning = _MEANINGS.get(code, "")
    said = text.removeprefix(_NAMES.get(code, "")).strip(" -")
    return f"{head}{': ' + meaning if meaning else ''}. It said: {said or 'nothing'}."


def unroutable(exchange: str, key: str, code: int = 312, text: str = "NO_ROUTE") -> str:
    """A message that came back."""
    where = f"the exchange {exchange!r}" if exchange else "the default exchange"
    return (
        f"The message came back ({code} {text}): no queue is bound to {where} for the routing "
        f"key {key!r}. Declare the queue and bind it first."
    )


def cannot_connect(url: str, error: BaseException | str) -> str:
    """No connection: what happened, with what to do next."""
    text = _told(error)
    if "ACCESS_REFUSED" in text or "AuthenticationError" in text:
        return (
            f"The broker at {url} wants a user and a password that it knows. "
            "Put them into the URL (amqp://user:password@host:port/vhost) or pass password=…."
        )
    if "vhost" in text or "NOT_ALLOWED" in text or "AccessDenied" in text:
        return (
            f"The broker at {url} does not let this user into that virtual host, or has none of "
            "that name. The virtual host is the URL's path: / is written %2F."
        )
    if "SSL" in text or "certificate" in text.lower():
        return (
            f"No trust in the broker at {url}: {text}. Pass tls_ca='ca.pem', the authority that "
            "signed its certificate, and use the name that it was made out to."
        )
    return (
        f"No RabbitMQ answers at {url} ({text}). Start one with "
        "labkit.servers.start_rabbitmq(), or check host and port."
    )


def _told(error: BaseException | str) -> str:
    """pika hides the reason inside; take what says most."""
    if isinstance(error, str):
        return error
    one = getattr(error, "exception", None)  # of one step on the way to a connection
    inner = (one,) if one else tuple(getattr(error, "exceptions", None) or error.args)
    last = next((one for one in reversed(inner) if isinstance(one, BaseException)), None)
    if last is not None and last is not error:
        return _told(last)
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def reason(error: BaseException | str) -> str:
    """Why a connection broke, in one line."""
    return " ".join(_told(error).split())


def _plain(value: str) -> str:
    """AMQP's own way of showing a value, without its type."""
    found = re.search(r"value '(.*?)' of type", value) or re.search(r"'(.*)'", value)
    if found:
        return found[1]
    return "not set" if "none" in value else value.strip()
