"""A command, declared once: its usage tells how to read its arguments, help and completion too."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from labkit.errors import LabkitError

_PARAMETER = re.compile(r"([<[])(\w+)(…?)[>\]]")
REST_OF_LINE = "message"
"""A parameter of this name takes what is left of the line, spaces and all."""


class CommandError(LabkitError):
    """A line that cannot be carried out; says what would be right."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One word of a usage: `<channel>`, `[message]`, `<channel…>`."""

    name: str
    required: bool
    many: bool


@dataclass(frozen=True)
class Command:
    """What a console can be told.

    Attributes:
        usage: "pub <channel> <message>"; [brackets] may be left out, … takes several words.
        summary: one line for the list of commands.
        run: called with the arguments, one str each.
        details: more lines for `help <command>`.
        aliases: other names, not shown.
    """

    usage: str
    summary: str
    run: Callable[..., None]
    details: str = ""
    aliases: tuple[str, ...] = ()

    @cached_property
    def name(self) -> str:
        """The first word of the usage."""
        return self.usage.split()[0]

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The others."""
        return tuple(
            Parameter(name, required=bracket == "<", many=bool(many))
            for bracket, name, many in _PARAMETER.findall(self.usage)
        )

    def arguments(self, line: str) -> list[str]:
        """The words after the command's name, as many as the usage asks for.

        Raises:
            CommandError: too few or too many; shows the usage.
        """
        arguments: list[str] = []
        for parameter in self.parameters:
            if parameter.many:
                words, line = line.split(), ""
            elif parameter.name == REST_OF_LINE:
                words, line = [line.strip()] if line.strip() else [], ""
            else:
                word, _, line = line.strip().partition(" ")
                words = [word] if word else []
            if parameter.required and not words:
                raise CommandError(f"{self.name} needs a {parameter.name}. Usage: {self.usage}")
            arguments += words
        if line.strip():
            raise CommandError(f"{line.strip()!r} is too much. Usage: {self.usage}")
        return arguments

    def parameter_at(self, words: int) -> str | None:
        """The name of the parameter that comes after `words` arguments, for completion."""
        if not self.parameters:
            return None
        if words < len(self.parameters):
            return self.parameters[words].name
        return self.parameters[-1].name if self.parameters[-1].many else None
