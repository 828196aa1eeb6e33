"""Lab 11: the same work on every broker at hand, and what follows from the figures."""

from labkit.experiments.choosing.at_hand import AtHand, Brokers, open_brokers
from labkit.experiments.choosing.results import Comparison, compare

__all__ = ["AtHand", "Brokers", "Comparison", "compare", "open_brokers"]
