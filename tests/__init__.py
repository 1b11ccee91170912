"""The tests; each folder says what must be running for it."""
