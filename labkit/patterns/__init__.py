"""The patterns, written against the contract of `labkit.broker` and no client library."""
