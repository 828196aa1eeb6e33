"""Names of functions and classes that another process can import."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from labkit.errors import ConfigurationError


def name_of(thing: Any, what: str) -> str:
    """ "module:name" of something that lives in a module.

    Raises:
        ConfigurationError: another process could not find it there.
    """
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    found = None
    if module and name and module != "__main__" and "<" not in name:
        try:
            found = resolve(f"{module}:{name}")
        except (ImportError, AttributeError):
            found = None
    if found is not thing:
        shown = name or repr(thing)
        raise ConfigurationError(
            f"A worker process imports its {what}, and {shown} cannot be imported: it is made in "
            "a notebook, in the program itself or in another function. Put it into a module (a "
            ".py file beside the notebook) and import it from there, or use threads."
        )
    return f"{module}:{name}"


def resolve(name: str) -> Any:
    """What "module:name" means."""
    module, _, path = name.partition(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found
