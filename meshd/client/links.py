"""A producer's connections: one for calls, opened when it is first needed, and spare ones for
those who listen.

It decides whether a call may be repeated after a lost connection by what the caller says of it,
and knows no command.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TypeVar

from meshd.broker.connect import connect
from meshd.broker.link import Link
from meshd.config import RedisSettings
from meshd.errors import BrokerUnavailable, MeshdError

T = TypeVar("T")

MOST_SPARE_LINKS = 8
_LOOK_AFTER_SECONDS = 1.0


class Lost(BrokerUnavailable):
    """The connection was lost under a call: whether it took effect is unknown."""


class Links:
    """Any number of threads may use it; calls run one at a time."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._used_at = 0.0
        self._spare: list[Link] = []
        self._closed = False
        _all_links.add(self)

    def call(self, call: Callable[[Link], T], *, repeatable: bool) -> T:
        """Run `call` on the link; once more over a new one when that was lost and it may be.

        Raises Lost when the connection was lost under it, BrokerUnavailable when there was none.
        """
        with self._lock:
            try:
                return self._attempt(call)
            except Lost:
                if not repeatable:
                    raise
            try:
                return self._attempt(call)
            except BrokerUnavailable as error:
                raise Lost(str(error)) from error

    @contextlib.contextmanager
    def listening(self) -> Iterator[Link]:
        """A link of the caller's own, to subscribe with; it is kept for the next one when the block
        ends well, so the subscription must have been ended in it.
        """
        link = self._borrow()
        try:
            yield link
        except BrokerUnavailable:
            link.close()
            # What broke this one has most likely broken those that lay idle, too.
            self._close_spare()
            raise
        except BaseException:
            link.close()
            raise
        self._give_back(link)

    def close(self) -> None:
        """Close every link; no call is possible afterwards."""
        with self._lock:
            self._closed = True
            self._drop()
        self._close_spare()

    def _attempt(self, call: Callable[[Link], T]) -> T:
        link = self._open()
        try:
            answer = call(link)
        except BrokerUnavailable as error:
            self._drop()
            raise Lost(str(error)) from error
        except MeshdError:
            raise
        except BaseException:
            # An exception from outside (Ctrl-C) may have left half a reply behind.
            self._drop()
            raise
        self._used_at = time.monotonic()
        return answer

    def _open(self) -> Link:
        self._check_open()
        if self._link is not None and self._has_gone_stale(self._link):
            self._drop()
        if self._link is None:
            self._link = connect(self._settings)
        return self._link

    def _has_gone_stale(self, link: Link) -> bool:
        """Whether it is closed, or the server has closed it while it was idle. Nothing has been
        sent yet, so it can be replaced without a doubt.
        """
        if not link.is_open:
            return True
        if time.monotonic() - self._used_at < _LOOK_AFTER_SECONDS:
            return False
        try:
            return link.has_reply()
        except BrokerUnavailable:
            return True

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _borrow(self) -> Link:
        self._check_open()
        try:
            return self._spare.pop()
        except IndexError:
            return connect(self._settings)

    def _give_back(self, link: Link) -> None:
        if self._closed or len(self._spare) >= MOST_SPARE_LINKS:
            link.close()
        else:
            self._spare.append(link)

    def _close_spare(self) -> None:
        while self._spare:
            with contextlib.suppress(IndexError):
                self._spare.pop().close()

    def _check_open(self) -> None:
        if self._closed:
            raise MeshdError("this client is closed: make another one")

    def forget(self) -> None:
        """In a forked child: the sockets are the parent's, and the lock may be held for ever."""
        self._lock = threading.Lock()
        self._drop()
        self._close_spare()


_all_links: weakref.WeakSet[Links] = weakref.WeakSet()


def _forget_all() -> None:
    for links in list(_all_links):
        links.forget()


os.register_at_fork(after_in_child=_forget_all)
