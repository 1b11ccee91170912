"""Need a Redis, which the fixtures start."""
