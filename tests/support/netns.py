"""Hosts in network namespaces of their own (ip-netns(8)), with a router between them and Redis.

A host that is cut off sees what a machine sees whose cable was pulled or whose switch has died:
nothing is closed and nothing is refused, packets merely cease to come.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

PROGRAM: Final = "ip"
_FORWARDING: Final = "/proc/sys/net/ipv4/ip_forward"


class Namespace:
    """One network namespace. Whoever is to run within it is started with `inside` before it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inside = (PROGRAM, "netns", "exec", name)
        _ip("netns", "add", name)

    def ip(self, *arguments: str) -> None:
        _ip("-n", self.name, *arguments)

    def close(self) -> None:
        """Remove it, and with it its end of each cable."""
        _ip("netns", "delete", self.name)


class Host:
    """A namespace behind the router. Each way to lose it lasts until `heal`."""

    def __init__(self, namespace: Namespace, router: Namespace, number: int) -> None:
        self.address = f"10.77.{number}.2"
        self.inside = namespace.inside
        self._namespace = namespace
        self._router = router
        self._gateway = f"10.77.{number}.1"
        self._port = f"port{number}"
        self._undo: list[Callable[[], None]] = []
        self._lay_cable()

    def silence(self) -> None:
        """The router drops what comes from the host and what goes to it; nobody is told."""
        self.mute()
        self._drop("to")

    def mute(self) -> None:
        """The router drops what the host says; the host goes on hearing."""
        self._drop("from")

    def unplug(self) -> None:
        """The host's own link goes down: its kernel knows of no route any more."""
        self._namespace.ip("link", "set", "eth0", "down")
        self._undo.append(self._link_up)

    def heal(self) -> None:
        """Reach and be reached again."""
        while self._undo:
            self._undo.pop()()

    def _lay_cable(self) -> None:
        _ip("link", "add", "eth0", "netns", self._namespace.name, "type", "veth",
            "peer", "name", self._port, "netns", self._router.name)  # fmt: skip
        self._router.ip("address", "add", f"{self._gateway}/24", "dev", self._port)
        self._router.ip("link", "set", self._port, "up")
        self._namespace.ip("address", "add", f"{self.address}/24", "dev", "eth0")
        self._namespace.ip("link", "set", "lo", "up")
        self._link_up()

    def _link_up(self) -> None:
        self._namespace.ip("link", "set", "eth0", "up")
        self._namespace.ip("route", "add", "default", "via", self._gateway)

    def _drop(self, direction: str) -> None:
        rule = (direction, self.address, "blackhole")
        self._router.ip("rule", "add", *rule)
        self._undo.append(lambda: self._router.ip("rule", "delete", *rule))


class Network:
    """Namespaces under names that no other network has; all are gone after the `with` block."""

    def __init__(self) -> None:
        self._name = f"meshd-test-{secrets.token_hex(4)}"
        self._namespaces: list[Namespace] = []
        self._hosts = 0

    def __enter__(self) -> Self:
        try:
            self._router = self._namespace("router")
            _run(*self._router.inside, "sh", "-c", f"echo 1 > {_FORWARDING}")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def host(self) -> Host:
        """One more host, which reaches all others through the router."""
        self._hosts += 1
        return Host(self._namespace(f"host{self._hosts}"), self._router, self._hosts)

    def _namespace(self, name: str) -> Namespace:
        self._namespaces.append(Namespace(f"{self._name}-{name}"))
        return self._namespaces[-1]

    def _close(self) -> None:
        while self._namespaces:
            self._namespaces.pop().close()


def why_not() -> str | None:
    """Why no network can be made here; None where it can."""
    if shutil.which(PROGRAM) is None:
        return f"needs {PROGRAM} (apt install iproute2)"
    try:
        with Network() as network:
            host = network.host()
            host.silence()
            host.heal()
    except subprocess.CalledProcessError as error:
        return (
            "needs network namespaces (root with CAP_SYS_ADMIN and CAP_NET_ADMIN, and a writable "
            f"/proc/sys): {error.stderr.strip()}"
        )
    return None


def _ip(*arguments: str) -> None:
    _run(PROGRAM, *arguments)


def _run(*command: str) -> None:
    """Raises CalledProcessError, with what the command said."""
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)
