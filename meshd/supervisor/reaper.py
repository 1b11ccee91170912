"""Recovery of lost hosts: what the slots of their workers hold goes back to its queue, and nobody
is charged.

Any number of supervisors may do this at once: each script looks again at what was seen. The slots
of this host are left to its own workers, who know what they were running, unless none of them has
the lock any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from meshd.broker.link import Link
from meshd.broker.queue import all_queues
from meshd.broker.recovery import NOT_TAKEN, Canary, Recovered, Sight, recover, survey
from meshd.config import parse_instance
from meshd.errors import BrokerError, ClaimLost, InstanceTaken, SlotHeld
from meshd.host import Place
from meshd.logs import Events
from meshd.protocol import BEAT_SECONDS, INBOX, Keys
from meshd.refusals import Refusals

REAP_SECONDS = 2.0
RECOVER_WATCH_SECONDS = 20.0
GAP_SECONDS = BEAT_SECONDS
CALLS_AT_ONCE = 5


class _Missed(NamedTuple):
    owner: str
    since: float


class Watch:
    """How long the leases of one queue have been missing although they could be renewed. `now` is
    monotonic seconds.

    A canary that is refused, lapses, or is renewed later than a worker would renew its lease
    proves nothing about the time before: everything that was seen then is forgotten.
    """

    def __init__(self, seconds: float = RECOVER_WATCH_SECONDS) -> None:
        self._seconds = seconds
        self._renewed_at: float | None = None
        self._missed: dict[str, _Missed] = {}

    def renewed(self, now: float, *, stood: bool) -> None:
        """The canary was renewed; `stood`: it had not lapsed."""
        if not stood or self._renewed_at is None or now - self._renewed_at > GAP_SECONDS:
            self.reset()
        self._renewed_at = now

    def reset(self) -> None:
        """Whatever has been seen so far proves nothing."""
        self._renewed_at = None
        self._missed.clear()

    def lost(self, seen: list[Sight], now: float) -> list[Sight]:
        """Of the slots seen now, those whose lease has been missing all the time."""
        missing = {sight.slot: sight for sight in seen if not (sight.leased or sight.given_up)}
        before = self._missed
        self._missed = {
            slot: before[slot]
            if slot in before and before[slot].owner == sight.owner
            else _Missed(sight.owner, now)
            for slot, sight in missing.items()
        }
        return [
            missing[slot]
            for slot, missed in self._missed.items()
            if now - missed.since >= self._seconds
        ]


class Reaper:
    """Recovers the slots of every queue. `relay` empties a slot of the inbox that has been taken,
    and says how many entries it held: they may have been relayed already and must not be released.
    `lock` takes the place of an instance of this host; it raises InstanceTaken while one runs.
    """

    def __init__(
        self, own_slot: str, relay: Callable[[Link, str], int], lock: Callable[[str], Place],
        refusals: Refusals, log: Events, watch_seconds: float = RECOVER_WATCH_SECONDS,
    ) -> None:  # fmt: skip
        self._own_slot = own_slot
        self._own_host = own_slot.partition(".")[0] + "."
        self._relay = relay
        self._lock = lock
        self._refusals = refusals
        self._log = log
        self._watch_seconds = watch_seconds
        self._watches: dict[str, tuple[Watch, Canary]] = {}

    def run_once(self, link: Link, now: float) -> Counter[str]:
        """Look at every slot, and recover what is lost; how many entries: `recover`. Raises
        BrokerUnavailable. `now` is monotonic seconds.
        """
        counts: Counter[str] = Counter()
        for queue in all_queues(link):
            with self._refusals.survived(f"looking at the slots of {queue}"):
                counts += self._in_queue(link, Keys(queue), now)
        return counts

    def start_afresh(self) -> None:
        """There was no Redis for a while: nobody could renew a lease then."""
        for watch, _ in self._watches.values():
            watch.reset()

    def _in_queue(self, link: Link, keys: Keys, now: float) -> Counter[str]:
        if keys.queue not in self._watches:
            canary = Canary(keys, self._own_slot)
            self._watches[keys.queue] = Watch(self._watch_seconds), canary
        watch, canary = self._watches[keys.queue]
        try:
            watch.renewed(now, stood=canary.renew(link))
            seen = survey(link, keys)
        except BrokerError:
            watch.reset()
            raise
        counts: Counter[str] = Counter()
        for sight in [*watch.lost(seen, now), *filter(_has_leftovers, seen)]:
            if keys.queue == INBOX and sight.slot == self._own_slot:
                continue
            with self._refusals.survived(f"recovering {sight.slot} of {keys.queue}"):
                counts += self._recover_unless_it_lives(link, keys, sight)
        return counts

    def _recover_unless_it_lives(self, link: Link, keys: Keys, sight: Sight) -> Counter[str]:
        if sight.given_up or not sight.slot.startswith(self._own_host):
            return self._recover(link, keys, sight)
        # It comes from Redis, and is to be the name of a file.
        instance = parse_instance(sight.slot.removeprefix(self._own_host))
        try:
            place = self._lock(instance.name)
        except InstanceTaken:
            return Counter()
        try:
            return self._recover(link, keys, sight)
        finally:
            place.leave()

    def _recover(self, link: Link, keys: Keys, sight: Sight) -> Counter[str]:
        if sight.trouble is not None:
            raise sight.trouble
        put_back = self._relay_all if keys.queue == INBOX else _put_back
        done = put_back(link, keys, sight)
        if done.taken and (done.moved or not sight.given_up):
            words = _words(sight, done, own=sight.slot.startswith(self._own_host))
            self._log.warning(
                "recover", words, queue=keys.queue, slot=sight.slot, entries=done.moved
            )
        return Counter(recover=done.moved)

    def _relay_all(self, link: Link, keys: Keys, sight: Sight) -> Recovered:
        taken = recover(link, keys, sight.slot, sight.owner, most=0)
        if not taken.left:
            return taken
        try:
            return Recovered(taken=True, moved=self._relay(link, sight.slot), left=0)
        except (SlotHeld, ClaimLost):
            # Another supervisor was quicker, or the owner is back.
            return NOT_TAKEN


def _has_leftovers(sight: Sight) -> bool:
    """Whether there is something to put back in a slot that nobody owns, or only its name to be
    forgotten.
    """
    return sight.given_up and not sight.leased and (sight.held > 0 or not sight.described)


def _put_back(link: Link, keys: Keys, sight: Sight) -> Recovered:
    """In steps, so that Redis serves others in between; what is left has its turn at the next
    look.
    """
    done = recover(link, keys, sight.slot, sight.owner)
    for _ in range(CALLS_AT_ONCE - 1):
        if not done.left:
            break
        # The slot is nobody's now. If an owner has come back, the rest is his.
        more = recover(link, keys, sight.slot, "-")
        done = done._replace(moved=done.moved + more.moved, left=more.left)
    return done


def _words(sight: Sight, done: Recovered, *, own: bool) -> str:
    host = sight.slot.partition(".")[0]
    lost = f"host {host} is lost" if not own else f"slot {sight.slot} has no living owner here"
    why = f"nobody owns slot {sight.slot}" if sight.given_up else lost
    left = f", {done.left} to follow" if done.left else ""
    return f"{why}; tasks put back, uncounted: {done.moved}{left}"
