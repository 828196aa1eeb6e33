"""Checks and graded hints, one module a lab: `from labkit.exercises import lab02`.

How an author writes one is told in `labkit.exercises.framework`.
"""

from labkit.exercises.framework import Exercise, Result, Wrong, exercise

__all__ = ["Exercise", "Result", "Wrong", "exercise"]
