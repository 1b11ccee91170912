"""What meshd does not promise: the limits of docs/reliability.md are where it draws them."""

from __future__ import annotations

import os
import shutil
import signal

from tests.processes.conftest import NASTY
from tests.support.redis_server import RedisServer
from tests.support.site import Site, alive
from tests.support.wait import wait_until

ESCAPES = """
import os, signal, subprocess
from meshd import task
from nasty import note

@task("escape", max_crashes=1)
def escape():
    note(str(subprocess.Popen(["sleep", "60"], start_new_session=True).pid))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_outcome_that_redis_forgot_is_made_good_by_a_second_run(
    own_site: Site, own_redis: RedisServer
) -> None:
    """What a power failure undoes with appendfsync everysec: a settle that was confirmed."""
    files, copy = own_redis.directory / "appendonlydir", own_site.directory / "copy"
    worker = own_site.worker()
    task_id = own_site.push("until", data={"file": "go"})
    own_site.wait_runs("start until")
    shutil.copytree(files, copy)
    (own_site.directory / "go").touch()
    own_site.settled(task_id)

    own_redis.kill()
    shutil.rmtree(files)
    shutil.copytree(copy, files)
    own_redis.start()

    own_site.redis = own_redis.client()
    response = own_site.settled(task_id, timeout=15)
    assert (response["status"], response["attempt"]) == ("done", 1)
    assert own_site.runs() == ["start until", "end until"] * 2
    assert own_site.counter("done") == 1
    assert worker.alive()


def test_what_has_left_the_process_group_outlives_its_runner(site: Site) -> None:
    file = site.directory / "escapes.py"
    file.write_text(ESCAPES)
    site.config.write_text(f'[kinds.a]\nhandlers = ["{NASTY}", "{file}"]\n')
    site.worker()

    assert site.settled(site.push("escape"))["error"]["code"] == "crashed"

    (escaped,) = map(int, site.runs())
    assert alive(escaped)
    os.kill(escaped, signal.SIGKILL)
    wait_until(lambda: not alive(escaped), what="its end")
