"""A worker that ends by a fault of its own: what was running is judged as after any other death,
and an entry that ends whoever reads it ends nobody for ever.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import bugs
from tests.support.daemon import Daemon
from tests.support.site import Site
from tests.support.wait import wait_until

Spawn = Callable[..., Daemon]
RAISED = {"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "1"}
SEGFAULT = {"SERVICE_RESULT": "core-dump", "EXIT_CODE": "dumped", "EXIT_STATUS": "SEGV"}


def bug(name: str) -> dict[str, str]:
    return {"PYTHONPATH": str(Path(bugs.__file__).parent), "MESHD_TEST_BUG": name}


def postmortem(site: Site, spawn: Spawn, **said: str) -> str:
    daemon = spawn("postmortem", "a1", env={**site.environment, **said})
    assert daemon.wait(timeout=15) == 0, daemon.log
    return daemon.log


def counted(site: Site) -> dict[str, int]:
    counts = {name: site.counter(name) for name in ("crash", "death", "retry", "bury")}
    return {name: count for name, count in counts.items() if count}


def files(site: Site) -> list[str]:
    folder = site.directory / "run" / "worker" / "a1"
    names = {path.name.partition(".")[0] for path in folder.iterdir()}
    return sorted(names - {"control", "stacks"})  # which the next start replaces


def raised_mid_task(site: Site) -> str:
    """A worker has ended by an exception while it ran the task whose id this is."""
    worker = site.worker(ready=True, **bug("signal"))
    task_id = site.push("until", data={"file": "go"})
    site.wait_runs("start until")
    for number in range(20):
        site.push("noted", id=f"behind-{number}", data={"name": str(number)})
    worker.signal(signal.SIGHUP)
    assert worker.wait() == 1
    assert "a bug: signal" in worker.log
    return task_id


def test_what_ran_under_a_worker_that_raised_is_recorded_as_a_death(
    site: Site, spawn: Spawn
) -> None:
    """Finding W43."""
    task_id = raised_mid_task(site)
    assert files(site) == ["import", "started"], "what ran, and nothing of a worker that read none"

    log = postmortem(site, spawn, **RAISED)

    assert "exit status 1" in log
    assert counted(site) == {"death": 1}
    assert len(site.waiting()) == 21
    assert files(site) == ["import"]
    (site.directory / "go").touch()
    site.worker()
    assert site.settled(task_id)["attempt"] == 1
    assert site.settled("behind-19")["attempt"] == 1
    assert counted(site) == {"death": 1}


def test_the_next_start_records_it_where_nobody_runs_postmortem(site: Site) -> None:
    task_id = raised_mid_task(site)
    (site.directory / "go").touch()
    site.worker()
    site.settled(task_id)
    assert counted(site) == {"death": 1}


def test_a_task_that_makes_every_worker_raise_is_buried_at_the_tenth_death(site: Site) -> None:
    """Its process had finished it: what the worker was doing with it is what counts."""
    site.push("echo", id="fatal")
    for _ in range(10):
        worker = site.worker(ready=False, **bug("report"))
        assert worker.wait() == 1
        assert "a bug: report" in worker.log

    worker = site.worker(ready=True, **bug("report"))
    ((line, _),) = site.wait_dead(1)

    assert (line["id"], line["reason"], line["error"]["code"]) == ("fatal", "crashed", "deaths")
    assert counted(site) == {"death": 9, "bury": 1}
    assert worker.alive()


def test_an_orderly_end_leaves_no_file(site: Site) -> None:
    worker = site.worker()
    site.settled(site.push("echo"))
    site.push("sleep", data={"seconds": 60})
    site.wait_runs("start sleep")
    worker.signal(signal.SIGTERM)
    worker.wait_log("drain")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert files(site) == ["import"]


def feed_a_deadly_batch(site: Site, worker: Daemon) -> None:
    """Let the worker claim several tasks at once, one of them deadly."""
    for number in range(200):
        site.push("noted", data={"name": str(number)})
    wait_until(lambda: site.counter("done") == 200, what="200 tasks, to learn their pace")
    worker.signal(signal.SIGSTOP)
    site.push("until", data={"file": "go"})
    for number in range(30):
        name = "deadly" if number == 3 else f"innocent {number}"
        site.push("noted", id=f"id-{number}", data={"name": name})
    worker.signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("name", "said", "counts"),
    [("read.kills", SEGFAULT, {"crash": 1}), ("read", RAISED, {"death": 1})],
    ids=["killed", "raised"],
)
def test_of_several_that_were_being_read_exactly_the_one_is_charged(
    site: Site, spawn: Spawn, name: str, said: dict[str, str], counts: dict[str, int]
) -> None:
    """Finding 12."""
    worker = site.worker(ready=True, **bug(name))
    feed_a_deadly_batch(site, worker)
    assert worker.wait() == (1 if name == "read" else -signal.SIGSEGV)
    slot = site.redis.hkeys(site.keys.slots)[0].decode()
    assert site.redis.hlen(site.keys.claimed(slot)) > 1

    postmortem(site, spawn, **said)

    assert counted(site) == counts
    charged = [entry for entry in site.waiting() if entry.startswith(b"\x1f")]
    assert len(charged) == 1
    assert b'"id":"id-3"' in charged[0]
    assert f'"{"crashes" if "crash" in counts else "deaths"}":1'.encode() in charged[0]


@pytest.mark.parametrize("name", ["read.kills", "read"])
def test_an_entry_that_ends_whoever_reads_it_is_buried_unread(
    site: Site, spawn: Spawn, name: str
) -> None:
    """Finding 12, for what also ends postmortem and the next start, which want to charge it."""
    said = {**(RAISED if name == "read" else SEGFAULT), **bug(name)}
    site.push("noted", id="bad", data={"name": "deadly"})
    (payload,) = site.waiting()
    for _ in range(2):
        assert site.worker(ready=False, **bug(name)).wait() != 0
        spawn("postmortem", "a1", env={**site.environment, **said}).wait(timeout=15)

    ((line, entry),) = site.wait_dead(1)
    assert (line["reason"], line["error"]["code"]) == ("crashed", "crashed")
    assert entry == payload
    assert counted(site) == {"bury": 1}
    worker = site.worker(ready=True, **bug(name))
    site.settled(site.push("noted", data={"name": "next"}))
    assert worker.alive()
    assert site.runs() == ["next"]
