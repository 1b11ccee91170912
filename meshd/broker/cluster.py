"""A cluster of Redis: each command goes to the node that has its key.

All keys of a kind lie in one of the cluster's slots, so a script never needs two nodes. A node that
has given a slot away, or is about to, refuses (MOVED, ASK, TRYAGAIN) and has done nothing; then the
link is as good as lost, and the next one asks anew who has what. Redirections are not followed.
"""

from __future__ import annotations

import binascii
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from meshd.broker.dial import dial
from meshd.broker.link import Argument, Link, Server
from meshd.broker.wire import Wire
from meshd.config import RedisSettings, hosts_of
from meshd.errors import BrokerError, BrokerFull, BrokerUnavailable

#: What concerns no key, and is asked of the node that is nearest.
_KEYLESS = frozenset((b"TIME", b"PING", b"INFO", b"CONFIG", b"CLIENT", b"SCRIPT", b"SUBSCRIBE"))

_SLOTS = 16384


class Range(NamedTuple):
    """Slots of the cluster from `first` to `last`, and the URL of the primary that has them."""

    first: int
    last: int
    url: str


class Topology(NamedTuple):
    """Who has what, when one of the nodes was asked."""

    ranges: Sequence[Range]

    def node_of(self, key: bytes | str) -> str:
        """The URL of the primary that has a key. Raises BrokerUnavailable: nobody has it."""
        slot = key_slot(key if isinstance(key, bytes) else key.encode())
        for each in self.ranges:
            if each.first <= slot <= each.last:
                return each.url
        raise BrokerUnavailable(f"no node of the cluster has slot {slot}")


class ClusterLink(Link):
    """A link whose own socket leads to the node that has the key `home`: that is where everything
    goes that is sent and received apart. Calls are taken to wherever their key is, over further
    links that are opened when they are first needed.
    """

    def __init__(
        self, topology: Topology, open_node: Callable[[str], Link],
        wire: Wire, address: str, server: Server,
    ) -> None:  # fmt: skip
        super().__init__(wire, address, server)
        self._topology = topology
        self._open_node = open_node
        self._nodes: dict[str, Link] = {}
        self._know(Link(wire, address, server))

    def call(self, *arguments: Argument) -> Any:
        return self._node_for(arguments).call(*arguments)

    def script(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        return self._node(self._topology.node_of(keys[0])).script(name, keys, arguments)

    def pipeline(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        replies: list[Any] = [None] * len(commands)
        refusal: BrokerError | None = None
        for node, places in self._by_node(commands):
            try:
                answers = node.pipeline([commands[place] for place in places])
            except BrokerUnavailable:
                raise
            except BrokerError as error:
                refusal = refusal or error
                continue
            _put(replies, places, answers)
        if refusal:
            raise refusal
        return replies

    def run_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        replies: list[Any] = [None] * len(commands)
        for node, places in self._by_node(commands):
            _put(replies, places, node.run_all([commands[place] for place in places]))
        if any(map(_leads_elsewhere, replies)):
            # The others have run, so this is no failure of the call; but the way has changed.
            self.close()
        return replies

    def replicas_with_everything(self, wanted: int, seconds: float) -> int:
        return min(
            node.replicas_with_everything(wanted, seconds) for node in list(self._nodes.values())
        )

    def close(self) -> None:
        for node in self._nodes.values():
            node.close()

    def _by_node(self, commands: Sequence[Sequence[Argument]]) -> Iterable[tuple[Link, list[int]]]:
        places: dict[Link, list[int]] = {}
        for place, command in enumerate(commands):
            places.setdefault(self._node_for(command), []).append(place)
        return places.items()

    def _node_for(self, command: Sequence[Argument]) -> Link:
        key = _key_of(command)
        return self._node(self.address if key is None else self._topology.node_of(key))

    def _node(self, url: str) -> Link:
        if url not in self._nodes:
            self._know(self._open_node(url))
        return self._nodes[url]

    def _know(self, node: Link) -> None:
        node.heard = self._node_was_heard
        self._nodes[node.address] = node

    def _node_was_heard(self) -> None:
        self.heard()


def key_slot(key: bytes) -> int:
    """The slot of a key, by the CRC16 of the cluster specification
    (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/), which is XMODEM's.
    """
    _, brace, rest = key.partition(b"{")
    tag, closing, _ = rest.partition(b"}")
    hashed = tag if brace and closing and tag else key
    return binascii.crc_hqx(hashed, 0) % _SLOTS


def dial_node(settings: RedisSettings, home: str) -> ClusterLink:
    """A link into the cluster that `settings.url` names, with the node that has the key `home` as
    its own. Raises BrokerUnavailable, which says what each node answered.
    """
    topology = _topology(settings)

    def at(url: str) -> RedisSettings:
        return replace(settings, url=url)

    make = functools.partial(ClusterLink, topology, lambda url: dial(at(url), Link))
    return dial(at(topology.node_of(home)), make)


def _topology(settings: RedisSettings) -> Topology:
    cluster = hosts_of(settings.url)
    answers = []
    for host, port in cluster.addresses:
        try:
            link = dial(replace(settings, url=cluster.at(host, port)), Link)
            try:
                found = link.call(b"CLUSTER", b"SLOTS")
            finally:
                link.close()
        except BrokerError as error:
            answers.append(str(error))
            continue
        return Topology(
            [
                # A node that does not know its own name leaves it out: that one was asked.
                Range(first, last, cluster.at((primary[0] or b"").decode() or host, primary[1]))
                for first, last, primary, *_ in found
            ]
        )
    raise BrokerUnavailable(f"no node of the cluster answers: {'; '.join(dict.fromkeys(answers))}")


def _key_of(command: Sequence[Argument]) -> bytes | str | None:
    name = command[0]
    if name == b"EVALSHA":
        key = command[3]
    elif name in _KEYLESS:
        return None
    else:
        key = command[1]
    assert isinstance(key, (bytes, str))
    return key


def _leads_elsewhere(reply: object) -> bool:
    """Whether a node refused for what another may do; a full one is still the right one."""
    return isinstance(reply, BrokerUnavailable) and not isinstance(reply, BrokerFull)


def _put(replies: list[Any], places: Iterable[int], answers: Iterable[Any]) -> None:
    for place, answer in zip(places, answers, strict=True):
        replies[place] = answer
