"""The demonstration: every built-in task, a failure, a delay and a burst, as a producer sees them.

`python -m meshd.dev.demo URL [--burst N] [--json]` is a process of its own, beside those that
`meshd dev` runs, and uses what any producer has: Client, and what is published on
worker:responses. Exit status 0: everything went as expected; 1: something did not.
"""

from __future__ import annotations

import argparse
import select
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

from meshd.broker.connect import connect
from meshd.broker.link import Link
from meshd.broker.queue import depth
from meshd.broker.subscription import Subscription
from meshd.client import Client, Result, Submission
from meshd.client.result import result_of
from meshd.config import RedisSettings
from meshd.dev.jobs import Job, burst, jobs
from meshd.dev.report import Arrival, JsonReport, Report, Tally, TextReport
from meshd.errors import MeshdError
from meshd.protocol import RESPONSES, Keys, decode_response, queue_of

PATIENCE_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.5
_KINDS: Final = ("a", "b")


class Demonstration:
    """Submits jobs and hears what comes of them; `heard` must be subscribed already."""

    def __init__(self, client: Client, heard: Subscription, report: Report) -> None:
        self._client, self._heard, self._report = client, heard, report
        self._out: dict[str, tuple[Job, float]] = {}  # task id -> the job, when it was submitted
        self.tally = Tally()

    def submit(self, wanted: Sequence[Job]) -> None:
        """Submit all of them together."""
        submissions = [
            Submission(job.type, job.data, kind=job.kind, delay=job.delay or None) for job in wanted
        ]
        now = time.time()
        receipts = self._client.submit_many(submissions)
        self._out |= {receipt.id: (job, now) for receipt, job in zip(receipts, wanted, strict=True)}

    def await_all(self, *, but_delayed: bool = False) -> None:
        """Count and report each outcome as it arrives, until there is none to wait for."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._waits(but_delayed=but_delayed) and time.monotonic() < deadline:
            for result in self._heard_now():
                self._on_result(result)
                deadline = time.monotonic() + PATIENCE_SECONDS

    def _waits(self, *, but_delayed: bool) -> bool:
        return any(not (but_delayed and job.delay) for job, _ in self._out.values())

    def _heard_now(self) -> Iterator[Result]:
        """What is published within the next moment about tasks that are out and now final."""
        select.select((self._heard,), (), (), _LOOK_SECONDS)
        for message in self._heard.messages(time.monotonic()):
            task_id = decode_response(message.data).get("task_id")
            if task_id in self._out:
                result = result_of(task_id, message.data) or self._client.result(task_id)
                if result is not None and result.final:
                    yield result
        self._heard.check(time.monotonic())

    def _on_result(self, result: Result) -> None:
        job, submitted_at = self._out.pop(result.task_id)
        arrival = Arrival(job, result, submitted_at)
        self.tally.add(arrival)
        if job.small and arrival.as_expected:
            self._report.burst_goes_on(self.tally)
        else:
            self._report.arrived(arrival)

    def missing(self) -> list[Job]:
        """Those of which nothing was heard."""
        return [job for job, _ in self._out.values()]


def show(url: str, small_tasks: int, report: Report) -> bool:
    """Run the demonstration on the broker at `url`; whether everything went as expected."""
    settings = RedisSettings(url=url)
    link, ears = connect(settings), connect(settings)
    try:
        with Client(url) as client:
            heard = Subscription(ears, [RESPONSES], time.monotonic())
            return _perform(Demonstration(client, heard, report), link, small_tasks, report)
    finally:
        link.close()
        ears.close()


def _perform(demonstration: Demonstration, link: Link, small_tasks: int, report: Report) -> bool:
    tally = demonstration.tally
    wanted = jobs()
    report.begins(len(wanted))
    demonstration.submit(wanted)
    demonstration.await_all(but_delayed=True)
    report.burst_begins(small_tasks)
    tally.burst_begins(small_tasks)
    demonstration.submit(list(burst(small_tasks)))
    demonstration.await_all()
    tally.missing = demonstration.missing()
    tally.dead_letters = sum(depth(link, Keys(queue_of(kind))).dead for kind in _KINDS)
    report.ends(tally)
    return tally.as_expected


def main(arguments: Sequence[str]) -> int:
    """Show it on standard output."""
    parser = argparse.ArgumentParser(prog="meshd.dev.demo")
    parser.add_argument("url")
    parser.add_argument("--burst", type=int, default=5000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    report = JsonReport() if options.json else TextReport()
    try:
        return 0 if show(options.url, options.burst, report) else 1
    except MeshdError as error:
        print(f"the demonstration broke off: {error}", file=sys.stderr)  # noqa: T201  its work
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
