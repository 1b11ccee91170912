"""How long commands take that answer at once. The aim is 150 ms from start to end where nothing
else runs; `make bench` measures that. Here it is processor time: others run beside the tests.
"""

from __future__ import annotations

import pytest

from bench.answers import ANSWERS, LIBRARY, Answer, ask, python
from tests.support.site import Site

AIM_SECONDS = 0.15
# Where several share a core's caches, the same work takes up to twice the processor time.
BUSY = 2
RUNS = 5
ALONE = [answer for answer in ANSWERS if answer.name in ("--version", "--help")]
WITH_REDIS = [answer for answer in ANSWERS if answer not in ALONE]

# In one process, so that at least they do not run beside each other.
pytestmark = pytest.mark.xdist_group("answers")


def name(answer: Answer) -> str:
    return answer.name


@pytest.mark.parametrize("answer", ALONE, ids=name)
def test_command_that_needs_no_redis_answers_at_once(answer: Answer, site: Site) -> None:
    assert any(ask(answer, site.environment).cpu < AIM_SECONDS * BUSY for _ in range(RUNS)), (
        f"none of {RUNS} runs took less than {AIM_SECONDS * BUSY} s"
    )


@pytest.mark.parametrize("answer", WITH_REDIS, ids=name)
def test_command_takes_little_more_than_to_load_the_library_of_redis(
    answer: Answer, site: Site
) -> None:
    """Which takes longer than the rest, and meshd cannot change that."""

    def own_share() -> float:
        _, library = python(LIBRARY, site.environment)
        return ask(answer, site.environment).cpu - library.cpu

    assert any(own_share() < AIM_SECONDS for _ in range(RUNS))
