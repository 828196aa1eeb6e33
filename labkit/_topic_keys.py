"""Topic keys of AMQP: words between dots, * for one of them, # for any number."""

from __future__ import annotations


def why_topic_fits(pattern: str, key: str) -> str | None:
    """What each sign of the pattern stands for, in words; None if it does not fit."""
    stands = _fit(_words(pattern), _words(key))
    if stands is None:
        return None
    told = [f"{sign} is {'.'.join(words) or 'nothing'}" for sign, words in stands]
    return f"{key!r} fits" + (f": {', '.join(told)}" if told else " word by word")


def _words(key: str) -> tuple[str, ...]:
    return tuple(key.split(".")) if key else ()


def _fit(
    pattern: tuple[str, ...], words: tuple[str, ...]
) -> list[tuple[str, tuple[str, ...]]] | None:
    """What each sign of the pattern stands for; None if it does not fit."""
    if not pattern:
        return [] if not words else None
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        if not rest:
            return [("#", words)]
        for count in range(len(words) + 1):
            found = _fit(rest, words[count:])
            if found is not None:
                return [("#", words[:count]), *found]
        return None
    if not words or first not in ("*", words[0]):
        return None
    found = _fit(rest, words[1:])
    if found is None:
        return None
    return [("*", words[:1]), *found] if first == "*" else found
