"""Experiments that labs run and that need more than a cell: a server of their own, or a fault."""
