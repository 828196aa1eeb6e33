"""The parts of the notebook tools: sources, execution, comparison, and the linter's rules."""
