"""What some commands need beside labkit's own dependencies, and how to say that it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from labkit.errors import LabkitError

_EXTRAS = {
    "numpy": "notebooks",
    "pandas": "notebooks",
    "matplotlib": "notebooks",
    "pyarrow": "formats",
}


@contextmanager
def notebooks_extra(command: str) -> Iterator[None]:
    """Turn the lack of a package that measures or draws into a sentence.

    Raises:
        LabkitError: it is missing; says what to install.
    """
    try:
        yield
    except ImportError as error:
        missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
        name = str(getattr(missing, "name", None)).partition(".")[0]
        if name not in _EXTRAS:
            raise
        raise LabkitError(
            f"'labkit {command}' needs {name}, which is not installed: "
            f"pip install 'messaging-lab[{_EXTRAS[name]}]'."
        ) from None
