"""A cluster of real redis-servers on ports of this host: primaries, and a replica of the first."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

from redis.crc import key_slot

from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_until

PRIMARIES: Final = 3
_SLOTS: Final = 16384


class ClusterNode(RedisServer):
    """One node, which clients find by its port."""

    def __init__(self) -> None:
        self.port, self.bus = free_port(), free_port()
        options: dict[str, str | int] = {
            "port": self.port,
            "bind": "127.0.0.1",
            "appendonly": "yes",
            "cluster-enabled": "yes",
            "cluster-port": self.bus,
            "cluster-node-timeout": 2000,
            "cluster-require-full-coverage": "no",
        }
        super().__init__((), **options)


class Cluster:
    """`nodes` are the primaries, the last of which has `queue:worker_a` and a replica, `spare`."""

    def __init__(self) -> None:
        self.nodes = [ClusterNode() for _ in range(PRIMARIES)]
        self.spare = ClusterNode()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def _start(self) -> None:
        for node in (*self.nodes, self.spare):
            node.start()
        for number, node in enumerate(self.nodes):
            first = _SLOTS * number // PRIMARIES
            last = _SLOTS * (number + 1) // PRIMARIES - 1
            ask(node, "CLUSTER", "ADDSLOTSRANGE", first, last)
            # Epochs of their own from the beginning, or they would have to find some first.
            ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in (*self.nodes[1:], self.spare):
            ask(self.nodes[0], "CLUSTER", "MEET", "127.0.0.1", node.port, node.bus)
        wait_until(self._is_whole, timeout=30, what="a cluster that is whole")
        ask(self.spare, "CLUSTER", "REPLICATE", identity(self.nodes[-1]))
        wait_until(self._has_spare, timeout=30, what="a replica that follows")

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        for node in (*self.nodes, self.spare):
            node.close()

    def node_of(self, key: str) -> ClusterNode:
        """The primary of the beginning that has a key."""
        return self.nodes[key_slot(key.encode()) * PRIMARIES // _SLOTS]

    def migrate(self, key: str, to: ClusterNode) -> None:
        """Move the slot of `key`, key by key, as `redis-cli --cluster reshard` does."""
        slot, source = key_slot(key.encode()), self.node_of(key)
        ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", identity(source))
        ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", identity(to))
        while keys := ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            ask(source, "MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        for node in (to, source, *self.nodes):
            ask(node, "CLUSTER", "SETSLOT", slot, "NODE", identity(to))

    def _is_whole(self) -> bool:
        return all(
            said(node, "cluster_state") == "ok" and said(node, "cluster_known_nodes") == "4"
            for node in (*self.nodes, self.spare)
        )

    def _has_spare(self) -> bool:
        info: Any = self.spare.client().info("replication")
        return bool(info["role"] == "slave" and info["master_link_status"] == "up")


def ask(node: RedisServer, *command: str | int | bytes) -> Any:
    client: Any = node.client()
    return client.execute_command(*command)


def identity(node: RedisServer) -> str:
    """The name that the cluster has for a node."""
    return _text(ask(node, "CLUSTER", "MYID"))


def said(node: RedisServer, name: str) -> str:
    """A line of CLUSTER INFO, which some versions of redis-py take apart."""
    info = ask(node, "CLUSTER", "INFO")
    if isinstance(info, dict):
        return _text(info[name])
    return dict(line.split(":", 1) for line in _text(info).split("\r\n") if ":" in line)[name]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
