"""A producer on the machine: three tasks that take long, short ones until /root/stop exists, and
then what came of them all, into /root/told.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from meshd import Client

PAUSE = 0.02  # seconds


def main() -> None:
    with Client() as client:
        ids = [client.submit("demo.sleep", {"seconds": 8}, kind=kind).id for kind in "aab"]
        while not Path("/root/stop").exists():
            ids += [client.submit("demo.sleep", {"seconds": 0.01}, kind=kind).id for kind in "ab"]
            time.sleep(PAUSE)
        statuses = {task_id: client.wait(task_id, 60).status for task_id in ids}
    told = {
        "submitted": len(ids),
        "not done": [task_id for task_id, status in statuses.items() if status != "done"],
    }
    unfinished = Path("/root/told.new")
    unfinished.write_text(json.dumps(told))
    unfinished.rename("/root/told")


main()
