"""The supervisor's one loop: the inbox is dispatched, the duties come round, systemd hears. Every
turn is short, and nothing in it runs user code.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

from meshd.broker.durability import dangers
from meshd.broker.link import Link
from meshd.broker.queue import kinds
from meshd.broker.slot import Slot, SlotSettings
from meshd.broker.tenure import Tenure
from meshd.config import Settings
from meshd.errors import BrokerError, BrokerUnavailable, ClaimLost
from meshd.host import Place, take_place
from meshd.lifecycle import Signals, Stop, Timers
from meshd.logs import Events
from meshd.metrics import Page
from meshd.protocol import BEAT_SECONDS, INBOX, Keys
from meshd.refusals import Refusals
from meshd.supervisor.about import About
from meshd.supervisor.autoscaler import SCALE_SECONDS, Autoscaler
from meshd.supervisor.census import LOST_AFTER, Census, SlotState, look
from meshd.supervisor.dispatcher import Dispatcher
from meshd.supervisor.listener import Listener, Responses
from meshd.supervisor.meter import Meter
from meshd.supervisor.promoter import IDLE_SECONDS, Outboxes, Promoter
from meshd.supervisor.reaper import REAP_SECONDS, Reaper
from meshd.supervisor.reload import Reload
from meshd.supervisor.scaled import Who
from meshd.supervisor.status import Status
from meshd.systemd.errand import is_a_unit
from meshd.systemd.notify import Notifier

RESULT_SECONDS = 86_400.0
DEAD_SECONDS = 90 * 86_400.0
OUTBOX_SECONDS = 3.0
LOOK_SECONDS = 2.0
LISTEN_SECONDS = 1.0
POLL_SECONDS = 1.0


class Duty(NamedTuple):
    """What comes round every `seconds` while there are links."""

    run: Callable[[float], None]
    seconds: float


class Supervisor:
    """Runs the supervisor of one host until it is told to stop."""

    def __init__(
        self, place: Place, settings: Settings, connect: Callable[[], Link], notifier: Notifier,
        log: Events, reload: Reload, page: Page | None = None,
    ) -> None:  # fmt: skip
        self._settings, self._notifier, self._log = settings, notifier, log
        limit = settings.worker.max_payload
        self._place, self._limits = place, SlotSettings(limit, RESULT_SECONDS, DEAD_SECONDS)
        slot = Slot(Keys(INBOX), place.slot, self._limits, place.boot)
        self._refusals = refusals = Refusals(log)
        self._about = About(f"supervisor_{os.getpid()}", place.host)
        self._selector = selectors.DefaultSelector()
        self._tenure = Tenure(connect, slot, self._selector, log, links=3, heard=notifier.progress)
        self._dispatcher = self._dispatcher_of(slot)
        self._promoter, self._outboxes = Promoter(refusals), Outboxes(refusals)
        self._reaper = Reaper(
            place.slot, self._inherit,
            lambda name: take_place(name, settings.worker, f"a worker {name} is running"),
            refusals, log,
        )  # fmt: skip
        self._census = Census()
        self._meter = Meter(page, self._census, refusals)
        who = Who(place.slot.rpartition(".")[0], place.host)
        self._autoscaler = Autoscaler(
            who, settings.kinds, refusals, log, self._meter.counts, is_a_unit=is_a_unit(os.environ)
        )
        self._status = Status(self._census, refusals, log)
        self._responses = Responses(log)
        self._listener: Listener | None = None
        self._listener_fd = -1
        self._more_to_hear = False
        self._signals = Signals()
        self._reload = reload
        self._timers = Timers()
        self._ready = self._over = False
        self._deadline = 0.0
        self._words = ""
        self._duties = {
            "promote": Duty(self._promote, IDLE_SECONDS),
            "outbox": Duty(self._relay_outboxes, OUTBOX_SECONDS),
            "reap": Duty(self._reap, REAP_SECONDS),
            "scale": Duty(self._scale, SCALE_SECONDS),
            "look": Duty(self._look, LOOK_SECONDS),
            "listen": Duty(self._check_listener, LISTEN_SECONDS),
            "status": Duty(self._say_status, settings.supervisor.status_interval),
        }

    def run(self) -> None:
        """Serve until stopped. Raises BrokerUnavailable when Redis stays away for the whole
        `redis.start_timeout`; later it waits for Redis as long as it takes.
        """
        now = time.monotonic()
        self._deadline = now + self._settings.redis.start_timeout
        with self._signals:
            self._selector.register(self._signals, selectors.EVENT_READ, self._on_signal)
            self._selector.register(self._tenure.connector, selectors.EVENT_READ, self._on_links)
            try:
                self._tenure.connector.start()
                self._timers.set("beat", now)
                while not self._over:
                    self._turn()
            finally:
                self._autoscaler.close()
                self._tenure.close()
                self._selector.close()

    def _turn(self) -> None:
        try:
            for key, _ in self._selector.select(self._patience()):
                if not self._over:
                    key.data()
            if self._over:
                return
            now = time.monotonic()
            self._keep_time(now)
            if self._more_to_hear:
                self._on_published()
            if self._tenure.up:
                self._dispatch(now)
        except ClaimLost as lost:
            self._on_claim_lost(lost)
        except BrokerError as error:
            self._on_redis_lost(error)

    def _patience(self) -> float | None:
        """How long nothing has to be done unless something happens, in seconds."""
        if self._tenure.up and (
            self._dispatcher.busy or self._tenure.work_came or self._more_to_hear
        ):
            return 0.0
        return self._timers.wait(time.monotonic())

    def _keep_time(self, now: float) -> None:
        for name in self._timers.due(now):
            if name == "beat":
                self._on_beat(now)
            elif name == "connect":
                self._tenure.connector.start()
            elif name == "poll":
                self._poll()
            else:
                # First the next time: what raises must not take it along.
                self._timers.set(name, now + self._duties[name].seconds)
                self._do(name, now)

    def _do(self, name: str, now: float) -> None:
        """One duty. What Redis refuses there keeps nobody from the others, or from the inbox."""
        with self._refusals.survived(f"the duty to {name}"):
            self._duties[name].run(now)

    # Redis

    def _dispatch(self, now: float) -> None:
        tenure, dispatcher = self._tenure, self._dispatcher
        if dispatcher.busy or tenure.work_came:
            self._about.counts.update(dispatcher.run_once(tenure.main))
            tenure.work_came = dispatcher.work_left
        if dispatcher.paused:
            self._timers.start("poll", now + POLL_SECONDS)
        elif not dispatcher.busy and not tenure.work_came:
            tenure.wait_for_work(now)
            if tenure.full:
                self._timers.start("poll", now + POLL_SECONDS)

    def _poll(self) -> None:
        self._tenure.work_came = True

    def _on_links(self) -> None:
        now = time.monotonic()
        attachment = self._tenure.open(self._dispatcher.held.values())
        main = self._tenure.main
        self._log.info(
            "attach", f"{main.server.text} at {main.address}", slot=self._tenure.slot.name
        )
        if not self._ready and self._settings.environment == "production":
            for danger in dangers(main):
                self._log.warning("danger", str(danger))
        self._listen(now)
        adopted = self._dispatcher.adopt(main, attachment.claims, attachment.now)
        self._about.counts.update(adopted)
        self._census.forgive(now)
        self._status.start_afresh()
        self._reaper.start_afresh()
        self._autoscaler.start_afresh()
        for name, duty in self._duties.items():
            self._timers.set(name, now + duty.seconds)
        self._timers.set("promote", now)
        self._do("look", now)
        self._do("status", now)

    def _listen(self, now: float) -> None:
        (link,) = self._tenure.others
        self._listener = Listener(link, self._on_heartbeat, self._responses, now)
        self._listener_fd = self._listener.fileno()
        self._selector.register(self._listener_fd, selectors.EVENT_READ, self._on_published)

    def _on_claim_lost(self, lost: ClaimLost) -> None:
        try:
            void = self._tenure.given_up(lost)
        except BrokerError as error:
            self._on_redis_lost(error)
            return
        if void:
            self._log.error("lost", f"{lost}: what was in hand is another's; starting afresh")
            self._meter.lost(len(self._dispatcher.held))
            self._dispatcher.forget()
        else:
            self._log.error("lost", "Redis has lost its data; putting back what is in hand")
        self._on_redis_lost(lost)

    def _on_redis_lost(self, error: BrokerError) -> None:
        now = time.monotonic()
        if not self._ready and now >= self._deadline:
            raise BrokerUnavailable(str(error)) from error
        if str(error) != self._tenure.trouble:
            self._log.warning("unavailable", str(error))
        if self._listener is not None:
            self._selector.unregister(self._listener_fd)
            self._listener, self._more_to_hear = None, False
        for name in self._duties:
            self._timers.cancel(name)
        self._timers.set("connect", now + self._tenure.lost(str(error)))
        self._notifier.status(self._waiting())

    # Duties

    def _on_beat(self, now: float) -> None:
        self._timers.set("beat", now + BEAT_SECONDS)
        self._notifier.watchdog()
        tenure = self._tenure
        self._meter.publish(tenure, now)
        if not tenure.up:
            self._notifier.status(self._waiting())
            return
        state = "paused" if self._dispatcher.paused else "running"
        held = tenure.beat(self._about.encode(state), b"")
        if held.claimed != len(self._dispatcher.held):
            raise BrokerUnavailable("Redis and this supervisor disagree on what it holds")
        # A move of a connection that is gone may have landed it: no reply will tell of that.
        tenure.work_came |= held.landed > 0

    def _promote(self, now: float) -> None:
        self._about.counts.update(self._promoter.run_once(self._tenure.main))
        self._timers.set("promote", now + self._promoter.next_in)

    def _relay_outboxes(self, _now: float) -> None:
        self._about.counts.update(self._outboxes.run_once(self._tenure.main))

    def _reap(self, now: float) -> None:
        self._about.counts.update(self._reaper.run_once(self._tenure.main, now))

    def _scale(self, now: float) -> None:
        self._about.counts.update(self._autoscaler.run_once(self._tenure.main, now))

    def _inherit(self, link: Link, name: str) -> int:
        return self._dispatcher_of(Slot(Keys(INBOX), name, self._limits)).inherit(link)

    def _dispatcher_of(self, slot: Slot) -> Dispatcher:
        limit, host = self._limits.max_payload, self._place.host
        return Dispatcher(slot, self._about.supervisor_id, host, limit, self._log)

    def _look(self, now: float) -> None:
        main = self._tenure.main
        states = [state for kind in kinds(main) for state in self._look_at(main, kind)]
        changes = self._census.seen(states, now)
        for name in changes.lost:
            self._about.counts["lost"] += 1
            self._log.warning("lost", f"{name} has not beaten for {LOST_AFTER:.0f} s", worker=name)
        for name in changes.back:
            self._log.info("back", f"{name} beats again", worker=name)

    def _look_at(self, link: Link, kind: str) -> list[SlotState]:
        """As of `look`; where Redis refuses, what was seen there last."""
        with self._refusals.survived(f"looking at the slots of {kind}"):
            return look(link, [kind])
        return [state for state in self._census.states if state.kind == kind]

    def _check_listener(self, now: float) -> None:
        if self._listener is not None:
            self._listener.check(now)

    def _say_status(self, now: float) -> None:
        recovered = self._about.counts["recover"]
        condition = self._status.run_once(self._tenure.main, now)._replace(recovered=recovered)
        words = condition.words() + ("; Redis is full" if self._tenure.full else "")
        self._words = words
        if self._ready:
            self._notifier.status(words)
        else:
            self._ready = True
            self._notifier.ready(words)
            self._log.info("ready", f"dispatches {INBOX}")
        self._log.info("status", words, **condition.counts)
        self._responses.say_what_was_not_said()
        self._dispatcher.say_what_was_not_said()

    def _waiting(self) -> str:
        return f"waiting for Redis ({self._tenure.trouble})"

    # What happened

    def _on_heartbeat(self, heartbeat: bytes, now: float) -> None:
        if self._census.heard(heartbeat, now):
            self._timers.set("look", now)

    def _on_published(self) -> None:
        if self._listener is not None:
            self._more_to_hear = self._listener.hear(time.monotonic())

    def _on_signal(self) -> None:
        numbers = self._signals.drain()
        if signal.SIGHUP in numbers:
            self._on_hangup()
        if Stop().after(numbers).draining:
            self._over = True
            self._notifier.stopping("stopping")
            try:
                self._leave()
            except BrokerError as error:
                self._log.warning("detach", f"left the inbox's slot as it was: {error}")

    def _on_hangup(self) -> None:
        self._notifier.reloading()
        settings = self._reload.run()
        interval = settings.supervisor.status_interval
        self._duties["status"] = self._duties["status"]._replace(seconds=interval)
        self._autoscaler.set_limits(settings.kinds)
        if self._ready:
            self._notifier.ready(self._words)

    def _leave(self) -> None:
        """What was decided is settled, and what has landed goes back: nothing stays in hand."""
        tenure = self._tenure
        if not tenure.up:
            return
        tenure.stop_waiting()
        if self._dispatcher.busy:
            self._dispatcher.run_once(tenure.main, wanted=0)
        tenure.slot.release(tenure.main)
        self._autoscaler.leave(tenure.main)
        tenure.slot.detach(tenure.main, self._about.encode("stopped"))
        self._log.info("detach", "stopped; nothing is left in hand")
