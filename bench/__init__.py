"""What meshd costs and how fast it is, measured on a private Redis: `make bench`.

noop         the handler that all of it runs
site         a Redis and daemons, new for each measurement
process · window          what processes have used; rates between two moments
throughput · latency · enqueue · start · footprint        the measurements
raw          the yardstick: a worker's exchange with Redis on a bare socket, and nothing else
numbers      the rounds; report and machine say what came of them, and where

No test depends on it: a number that depends on who else uses the machine is not a test.
"""
