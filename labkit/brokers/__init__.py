"""One package a client library; opened by `labkit.connect` alone."""
