"""Two workers that both think they are a1: on one host, and on a host and its copy."""

from __future__ import annotations

import shutil

from tests.support.site import Site


def test_second_worker_of_the_name_on_one_host_refuses(site: Site) -> None:
    first = site.worker()
    second = site.worker(ready=False)
    assert second.wait() == 75
    assert "running on this host already" in second.log
    assert first.alive()


def test_worker_on_a_copy_of_the_host_refuses_and_disturbs_nobody(site: Site) -> None:
    """Finding 24."""
    first = site.worker()
    task_id = site.push("until", data={"file": "go"})
    site.wait_runs("start until")
    copy = site.directory / "copy"
    shutil.copytree(site.directory / "state", copy / "state")

    second = site.worker(
        ready=False, RUNTIME_DIRECTORY=str(copy / "run"), STATE_DIRECTORY=str(copy / "state")
    )

    assert second.wait(timeout=20) == 75
    assert "two hosts have the same id" in second.log
    assert "delete host-nonce" in second.log
    (site.directory / "go").touch()
    assert site.settled(task_id)["status"] == "done"
    assert site.runs() == ["start until", "end until"]
    assert "lost" not in first.log
