"""The worker's one loop: runners report, Redis is told and asked, deadlines are kept, systemd
hears. Every turn is short; nothing in it waits for a task.
"""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Callable

from meshd.broker.durability import dangers
from meshd.broker.link import Link
from meshd.broker.queue import promote, register
from meshd.broker.slot import Slot, SlotSettings
from meshd.claims import Types
from meshd.config import KindSettings, Settings
from meshd.errors import BrokerError, BrokerUnavailable, ClaimLost, HandlerError
from meshd.estate import read_estate
from meshd.lifecycle import Signals, Timers
from meshd.logs import Events
from meshd.metrics import Page
from meshd.protocol import BEAT_SECONDS, Keys, queue_of
from meshd.reloads import Reloads
from meshd.settle import Ending, Settler
from meshd.systemd.notify import Notifier
from meshd.worker.beat import Beat
from meshd.worker.control import Control
from meshd.worker.drain import Drain
from meshd.worker.exchange import SLOW_SECONDS, Exchange, OfLoop
from meshd.worker.feed import Feeder
from meshd.worker.generations import Generations, NotRenewed, Renewed
from meshd.worker.identity import Identity
from meshd.worker.meter import meter_of
from meshd.worker.outcomes import Outcomes
from meshd.worker.pool import Broken, Died, OfRunner, Ready, Reported
from meshd.worker.prefetch import Pace
from meshd.worker.reading import Reading
from meshd.worker.reload import Reload
from meshd.worker.session import Session
from meshd.worker.status import Status
from meshd.worker.tasklog import TaskLog

REGISTER_SECONDS = 3600.0
DRAIN_STEP_SECONDS = 1.0


class Worker:
    """Runs one slot until it is told to stop."""

    def __init__(
        self, identity: Identity, settings: Settings, connect: Callable[[], Link],
        notifier: Notifier, log: Events, reread: Callable[[], tuple[Settings, KindSettings]],
        page: Page | None = None,
    ) -> None:  # fmt: skip
        self._kind = identity.instance.kind
        self._settings, self._notifier, self._log = settings, notifier, log
        self._selector, self._signals = selectors.DefaultSelector(), Signals()
        kind, limit = identity.kind, settings.worker.max_payload
        limits = SlotSettings(limit, kind.result_ttl, kind.dead_ttl, kind.max_length)
        place = identity.place
        slot = Slot(Keys(queue_of(self._kind)), place.slot, limits, place.boot)
        settler = Settler(identity.worker_id, place.host, self._kind)
        pace = Pace(settings.worker.prefetch_budget)
        most = settings.worker.max_result
        orders = {"kind": self._kind, "worker_id": identity.worker_id, "max_result": most}
        self._kind_settings = kind
        self._session = Session(connect, slot, self._selector, log, notifier.progress)
        self._pool = Generations(kind, identity.directory, orders, self._selector)
        self._feeder = Feeder(self._session, self._pool, settler, pace, self._kind, limit)
        self._meter = meter = meter_of(page, self._session, self._pool, self._feeder)
        self._outcomes = Outcomes(
            self._session, self._feeder, settler, pace, log, kind, meter,
            read_estate(identity.directory),
        )  # fmt: skip
        self._beat = Beat(identity.worker_id, identity.instance.name, place.host, time.time())
        self._timers = Timers()
        self._task_log = TaskLog(log)
        self._drain = Drain(self._session, self._pool, settings.worker.drain_timeout)
        self._control = Control(identity.directory, self._selector, self._pool, log)
        self._status = Status(
            self._session, self._pool, self._outcomes, self._drain, self._control, self._kind
        )
        reloads = Reloads(identity.directory, self._say_ready)
        self._reload = Reload(reread, settings, self._pool, reloads, self._timers, log)
        self._directory = identity.directory
        self._reading = Reading(identity.directory)
        self._exchange = Exchange(
            self._session, self._feeder, self._pool, self._outcomes, self._reading, self._drain,
            self._timers, OfLoop(self._wanted, self._listen, self._on_settled, self._last_word),
        )  # fmt: skip
        self._ready = False
        self._deadline = 0.0
        self._duties = self._duties_by_name()

    def _duties_by_name(self) -> dict[str, Callable[[float], None]]:
        """What falls due besides the beat."""
        return {
            "connect": lambda _now: self._session.connector.start(),
            "register": self._register,
            "orders": self._listen_to_orders,
            "promote": self._promote,
            "dangers": self._tell_dangers,
            "poll": self._poll,
            "drain": self._look_at_drain,
            "reload": self._reload.late,
        }

    def run(self) -> None:
        """Serve until stopped. Raises HandlerError when the handlers cannot be loaded at the
        start, BrokerUnavailable when Redis stays away for the whole `redis.start_timeout`.
        """
        now = time.monotonic()
        self._deadline = now + self._settings.redis.start_timeout
        with self._signals:
            self._selector.register(self._signals, selectors.EVENT_READ, self._on_signal)
            self._selector.register(self._session.connector, selectors.EVENT_READ, self._on_links)
            try:
                self._control.open()
                self._pool.fill(now)
                self._session.connector.start()
                self._timers.set("beat", now + BEAT_SECONDS)
                while not self._drain.over:
                    self._turn()
                if self._drain.detached:
                    self._log.info("detach", "stopped; nothing is left in hand")
                self._outcomes.spool(self._directory)
                self._pool.part()
                self._pool.kill_all()
            finally:
                # Nothing is left to do here but after a fault of the worker's own.
                self._pool.leave_to_heirs()
                self._reading.close()
                self._control.close()
                self._session.close()
                self._selector.close()

    def _turn(self) -> None:
        try:
            for key, _ in self._selector.select(self._patience()):
                key.data()
            now = time.monotonic()
            self._hear_of_tasks()
            self._feeder.cancel(self._session.orders.cancelled(), now)
            for event in self._pool.of_runners():
                self._on_event(event, now)
            self._do_what_is_due(now)
            self._keep_deadlines(now)
            if self._session.up:
                self._exchange.run()
        except ClaimLost as lost:
            self._on_claim_lost(lost)
        except BrokerError as error:
            self._on_redis_lost(error)

    def _do_what_is_due(self, now: float) -> None:
        """The beat is first, because the lease hangs on it. While Redis is slow one more has to be
        enough for this turn: deadlines are to be kept, and the next beat comes soon.
        """
        if self._timers.take("beat", now):
            self._on_beat(now)
        for name in self._timers.due(now):
            self._duties[name](now)
            if time.monotonic() - now > SLOW_SECONDS:
                return

    def _patience(self) -> float | None:
        """How long nothing has to be done unless something happens, in seconds. Whatever a turn may
        leave for the next must be known here.
        """
        now, session = time.monotonic(), self._session
        at_once = session.endings or session.returned or (session.work_came and self._wanted(now))
        at_once = at_once or self._exchange.unfinished
        if self._pool.has_news or session.orders.more or (session.up and at_once):
            return 0.0
        waits = [self._timers.wait(now)]
        deadline = self._pool.next_deadline(now)
        if deadline is not None:
            waits.append(max(0.0, deadline - now))
        if any(runner.held > 1 for runner in self._pool.runners):
            waits.append(self._feeder.long_head_after)
        return min((wait for wait in waits if wait is not None), default=None)

    # Redis

    def _wanted(self, now: float) -> int:
        held = self._control.paused or self._outcomes.hold_until > now
        if self._drain.on or not self._ready or held:
            return 0
        return self._feeder.room(now)

    def _on_links(self) -> None:
        reconciled = self._session.connected()
        now = time.monotonic()
        self._log.info(
            "attach",
            f"{self._session.main.server.text} at {self._session.main.address}",
            slot=self._session.slot.name,
        )
        if reconciled.inherited:
            self._outcomes.inherited(self._reading.each(reconciled.found))
        elif self._ready and not self._drain.on:
            read = self._reading.each(reconciled.found)
            self._feeder.admit(read, reconciled.redis_now, now, orders=True)
        else:
            self._session.give_back(claimed.number for claimed in reconciled.found)
        self._timers.set("orders", now)
        self._become_ready(now)

    def _on_claim_lost(self, lost: ClaimLost) -> None:
        try:
            void = self._session.given_up(lost)
        except BrokerError as error:
            self._on_redis_lost(error)
            return
        if void:
            self._log.error(
                "lost", f"{lost}: what this worker was doing is done by another; starting afresh"
            )
            self._pool.kill_all()
            self._pool.fill(time.monotonic())
        else:
            self._log.error("lost", "Redis has lost its data; putting back what is in hand")
        self._on_redis_lost(lost)

    def _on_redis_lost(self, error: BrokerError) -> None:
        now = time.monotonic()
        if not self._session.attached and not self._ready and now >= self._deadline:
            raise BrokerUnavailable(str(error)) from error
        if str(error) != self._session.trouble:
            self._log.warning("unavailable", str(error))
        self._timers.cancel("orders")
        self._timers.set("connect", now + self._session.lost(str(error)))
        self._notifier.status(self._status.sentence(now))

    # What happened

    def _on_settled(self, ending: Ending, now: float) -> None:
        self._beat.counts[ending.outcome] += 1
        self._meter.settled(ending)
        self._task_log.tell(ending, now)

    def _listen(self) -> None:
        self._pool.listen()
        self._hear_of_tasks()

    def _hear_of_tasks(self) -> None:
        for event in self._pool.of_tasks():
            self._reading.note(event.claim.number)
            if isinstance(event, Reported):
                self._outcomes.reported(event)
            else:
                self._session.give_back([event.claim.number])
        self._reading.note(0)

    def _on_event(self, event: OfRunner | Renewed | NotRenewed, now: float) -> None:
        if isinstance(event, Died):
            self._on_death(event, now)
        elif isinstance(event, Ready):
            self._feeder.types = Types(self._kind_settings, event.types)
            self._become_ready(now)
        elif isinstance(event, Broken):
            self._on_broken(event)
        elif isinstance(event, Renewed):
            self._on_renewed(event, now)
        else:
            self._reload.not_renewed(event, now)

    def _on_renewed(self, renewed: Renewed, now: float) -> None:
        if self._reload.kind is not None:
            self._kind_settings = self._reload.kind
        self._feeder.types = Types(self._kind_settings, renewed.types)
        self._feeder.feed(renewed.unstarted, now)
        self._reload.renewed(now)
        self._timers.set("register", now)

    def _on_death(self, died: Died, now: float) -> None:
        if not self._ready and not died.was_ready and died.by_itself:
            raise HandlerError(f"the process ended while it loaded the handlers: {died.cause}")
        self._log.info("runner", f"ended: {died.cause}", cause=died.cause)
        self._pool.fill(now)
        self._outcomes.died(died, now)

    def _on_broken(self, broken: Broken) -> None:
        if not self._ready:
            raise HandlerError(broken.message, broken.shown)
        self._log.error("runner", broken.message, traceback=broken.shown)

    def _become_ready(self, now: float) -> None:
        if not (self._pool.ready and self._session.up):
            return
        if self._ready:
            self._timers.set("register", now)
            return
        self._register(now)
        self._ready = True
        self._log.info(
            "ready",
            f"takes tasks from {self._session.slot.keys.queue}",
            types=sorted(self._feeder.types or ()),
        )
        self._notifier.ready(self._status.sentence(now))
        self._timers.set("beat", now)
        if self._settings.environment == "production":
            self._timers.set("dangers", now)

    def _keep_deadlines(self, now: float) -> None:
        self._pool.look_after(now)
        self._pool.fill(now)
        for runner in self._pool.runners:
            why = runner.due_to_stop(now)
            if why is not None:
                self._session.give_back(c.number for c in runner.stop_task(why, now))
        if self._session.up:
            behind = self._feeder.behind_long_heads(now)
            self._session.give_back(claim.number for claim in behind)

    # Duties

    def _on_beat(self, now: float) -> None:
        self._timers.set("beat", now + BEAT_SECONDS)
        self._notifier.watchdog()
        self._notifier.status(self._status.sentence(now))
        self._meter.publish()
        if not (self._session.up and self._ready):
            return
        wall = time.time()
        heartbeat = self._beat.every_second_heartbeat(wall)
        about = self._beat.about(self._status.word(now), self._pool.runners, wall, now)
        held = self._session.beat(about, heartbeat)
        if not self._session.agrees(held):
            raise BrokerUnavailable("Redis and this worker disagree on what it holds")
        self._session.noticed(held)
        self._session.orders.check(now)
        self._timers.set("promote", now)
        self._task_log.tell_the_rest()

    def _promote(self, _now: float) -> None:
        if self._session.up:
            promote(self._session.main, self._session.slot.keys)

    def _tell_dangers(self, _now: float) -> None:
        for danger in dangers(self._session.main) if self._session.up else ():
            self._log.warning("danger", str(danger))

    def _listen_to_orders(self, now: float) -> None:
        self._session.listen(now)
        self._feeder.look_for_orders(now)

    def _register(self, now: float) -> None:
        self._timers.set("register", now + REGISTER_SECONDS)
        if self._session.up and self._feeder.types is not None:
            register(self._session.main, self._kind, self._feeder.types)

    def _poll(self, now: float) -> None:
        self._session.work_came = True
        self._notifier.status(self._status.sentence(now))

    def _say_ready(self) -> None:
        self._notifier.ready(self._status.sentence(time.monotonic()))

    # Stopping

    def _on_signal(self) -> None:
        now, numbers = time.monotonic(), self._signals.drain()
        if signal.SIGHUP in numbers:
            self._on_hangup(now)
        if self._drain.hear(numbers, now):
            self._reload.stop(now)
            self._log.info("drain", self._status.sentence(now))
            self._notifier.stopping(self._status.sentence(now))
        if self._drain.on:
            self._look_at_drain(now)

    def _on_hangup(self, now: float) -> None:
        if self._drain.on or not self._ready:
            self._reload.refuse("it stops" if self._drain.on else "it has not begun to serve yet")
        else:
            self._notifier.reloading()
            self._reload.begin(now)

    def _look_at_drain(self, now: float) -> None:
        self._timers.set("drain", now + DRAIN_STEP_SECONDS)
        self._notifier.extend(DRAIN_STEP_SECONDS * 10)
        self._notifier.status(self._status.sentence(now))
        self._drain.look(now)

    def _last_word(self) -> bytes:
        return self._beat.about("stopped", (), time.time(), time.monotonic())
