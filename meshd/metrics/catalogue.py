"""Every metric that meshd has. docs/metrics.md says the same in a table, held against this one."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

OUTCOMES: Final = ("done", "retrying", "failed", "cancelled")
#: Bounds in seconds; the time limit of a task is 5 min unless somebody says otherwise.
TASK_SECONDS: Final = (
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0,
)  # fmt: skip
#: Of one call to Redis, which may take five seconds at the longest.
CALL_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
DAEMON: Final = "daemon"


class Metric(NamedTuple):
    """`labels` in the order in which values are given; DAEMON, where it is the first, is added by
    the page. `bounds` are those of a histogram.
    """

    name: str
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    bounds: tuple[float, ...] = ()


# Of every daemon

BUILD_INFO = Metric(
    "meshd_build_info", "gauge", (DAEMON, "version", "python"), "Always 1; what runs."
)
START_TIME = Metric(
    "meshd_start_time_seconds", "gauge", (DAEMON,), "When the daemon started, in Unix seconds."
)
REDIS_CONNECTED = Metric(
    "meshd_redis_connected", "gauge", (DAEMON,), "1 while the daemon is connected to Redis, else 0."
)
ROUND_TRIP = Metric(
    "meshd_redis_round_trip_seconds", "histogram", (DAEMON,),
    "Time that a beat's script took, there and back; one each 5 s.", CALL_SECONDS,
)  # fmt: skip
CLAIMS_LOST = Metric(
    "meshd_claims_lost_total", "counter", (DAEMON, "kind"),
    "Claims that were in hand when the slot turned out to be another's.",
)  # fmt: skip

# Of workers

TASKS = Metric(
    "meshd_tasks_total", "counter", (DAEMON, "kind", "type", "outcome"),
    "Tasks settled, by outcome: done, retrying, failed or cancelled.",
)  # fmt: skip
RUN_SECONDS = Metric(
    "meshd_task_run_seconds", "histogram", (DAEMON, "kind", "type"),
    "How long tasks ran, each attempt for itself, whatever came of it.", TASK_SECONDS,
)  # fmt: skip
WAIT_SECONDS = Metric(
    "meshd_task_wait_seconds", "histogram", (DAEMON, "kind", "type"),
    "How long tasks waited for their first run, where it is known since when.", TASK_SECONDS,
)  # fmt: skip
RUNNERS = Metric(
    "meshd_runners", "gauge", (DAEMON, "kind", "state"),
    "Processes that run handlers: starting, idle or running.",
)  # fmt: skip
RUNNER_DEATHS = Metric(
    "meshd_runner_deaths_total", "counter", (DAEMON, "kind", "cause"),
    "Processes that ended: by a signal, an exit status, or because their worker ended them.",
)  # fmt: skip

# Of the supervisor: the queues, as Redis has them for all hosts

WAITING = Metric("meshd_queue_waiting", "gauge", ("kind",), "Tasks that wait in the queue.")
OLDEST = Metric(
    "meshd_queue_oldest_seconds", "gauge", ("kind",),
    "How long the next task has waited, at least; 0 when none waits.",
)  # fmt: skip
SCHEDULED = Metric(
    "meshd_queue_scheduled", "gauge", ("kind",), "Tasks that wait for their time to come."
)
DEAD = Metric("meshd_queue_dead", "gauge", ("kind",), "Dead letters.")
PAUSED = Metric("meshd_queue_paused", "gauge", ("kind",), "1 while the queue is paused, else 0.")
CLAIMED = Metric(
    "meshd_queue_claimed", "gauge", ("kind",), "Tasks that living workers hold, running or not."
)
RUNNING = Metric("meshd_queue_running", "gauge", ("kind",), "Tasks that run.")
TRANSITIONS = Metric(
    "meshd_queue_transitions_total", "counter", ("kind", "verb"),
    "What became of tasks, as Redis has counted since it was empty.",
)  # fmt: skip
WORKERS = Metric(
    "meshd_workers", "gauge", ("kind", "state"),
    "Workers on all hosts by what they do; lost: silent without having said that they stop.",
)  # fmt: skip
SCALER_ACTIONS = Metric(
    "meshd_scaler_actions_total", "counter", (DAEMON, "kind", "direction"),
    "Workers that this supervisor has started (up) or stopped (down).",
)  # fmt: skip

CATALOGUE: Final = (
    BUILD_INFO, START_TIME, REDIS_CONNECTED, ROUND_TRIP, CLAIMS_LOST,
    TASKS, RUN_SECONDS, WAIT_SECONDS, RUNNERS, RUNNER_DEATHS,
    WAITING, OLDEST, SCHEDULED, DEAD, PAUSED, CLAIMED, RUNNING, TRANSITIONS, WORKERS,
    SCALER_ACTIONS,
)  # fmt: skip
