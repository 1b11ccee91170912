"""The yardstick: a worker's exchange with Redis by one process that does nothing else.

One fenced script settles a batch and claims the next; every task is decoded, and a response of a
worker's size encoded. There is no runner, no client library, no time limit and no retry. It waits
for each reply, so that the process and Redis take turns.
"""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import hiredis

from bench.process import cpu_seconds
from bench.site import Site
from bench.window import FROM, TO, Moment, moment, rates
from meshd.protocol import RESPONSES, Keys

BATCH: Final = 50
_SLOT, _TOKEN = b"0123456789ab.a1", b"fence.1"
_WORKER_ID: Final = "worker_a_12345"
_RESULT_MILLISECONDS: Final = 86_400_000
_NOTHING_YET: Final = object()

_SCRIPT: Final = b"""
-- KEYS  1 queue  2 claimed  3 slots  4 stats, then for every outcome: result:<id>
-- ARGV  1 slot  2 token  3 wanted  4 first number  5 life of a result (ms)  6 channel
--       then for every outcome: number, id, response
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then return redis.error_reply('LOST') end
local settled, key = 0, 5
for i = 7, #ARGV, 3 do
  if redis.call('HDEL', KEYS[2], ARGV[i]) == 1 then
    redis.call('SET', KEYS[key], ARGV[i + 2], 'PX', ARGV[5])
    redis.call('PUBLISH', ARGV[6], ARGV[i + 2])
    redis.call('PUBLISH', ARGV[6] .. ':' .. ARGV[i + 1], ARGV[i + 2])
    settled = settled + 1
  end
  key = key + 1
end
local entries, fields = {}, {}
for n = ARGV[4], ARGV[4] + ARGV[3] - 1 do
  local entry = redis.call('RPOP', KEYS[1])
  if not entry then break end
  entries[#entries + 1] = entry
  fields[#fields + 1] = string.format('%d', n)
  fields[#fields + 1] = entry
end
if #fields > 0 then redis.call('HSET', KEYS[2], unpack(fields)) end
if settled > 0 then redis.call('HINCRBY', KEYS[4], 'done', settled) end
return entries
"""


class Outcome(NamedTuple):
    """A claim that is to be settled."""

    number: bytes
    id: bytes
    response: bytes


class Socket:
    """A bare connection: commands are packed by hand, replies parsed by hiredis."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._reader = hiredis.Reader(notEnoughData=_NOTHING_YET)

    def call(self, *arguments: bytes) -> Any:
        """Send one command; its reply. Raises the server's refusal."""
        self._socket.sendall(_packed(arguments))
        while (reply := self._reader.gets()) is _NOTHING_YET:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("redis-server has closed the connection")
            self._reader.feed(data)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        self._socket.close()


class Loop:
    """Settle and claim, until the queue is empty."""

    def __init__(self, connection: Socket, keys: Keys) -> None:
        self._call = connection.call
        self._sha: bytes = self._call(b"SCRIPT", b"LOAD", _SCRIPT)
        self._call(b"HSET", keys.slots.encode(), _SLOT, _TOKEN)
        fixed = (keys.queue, keys.claimed(_SLOT.decode()), keys.slots, keys.stats)
        self._fixed_keys = [key.encode() for key in fixed]
        self._result = keys.result("").encode()
        self._next = 1
        self._decode = json.JSONDecoder().decode
        self._encode = json.JSONEncoder(separators=(",", ":")).encode

    def batches(self) -> Iterator[int]:
        """How many were settled, after each round trip."""
        outcomes: list[Outcome] = []
        while entries := self._exchange(outcomes):
            yield len(outcomes)
            outcomes = list(self._outcomes(entries))
        yield len(outcomes)

    def _exchange(self, outcomes: list[Outcome]) -> list[bytes]:
        arguments = [b"EVALSHA", self._sha, b"%d" % (4 + len(outcomes)), *self._fixed_keys]
        arguments += [self._result + outcome.id for outcome in outcomes]
        arguments += [_SLOT, _TOKEN, b"%d" % BATCH, b"%d" % self._next]
        arguments += [b"%d" % _RESULT_MILLISECONDS, RESPONSES.encode()]
        for outcome in outcomes:
            arguments += outcome
        entries: list[bytes] = self._call(*arguments)
        return entries

    def _outcomes(self, entries: list[bytes]) -> Iterator[Outcome]:
        for entry in entries:
            task = self._decode(entry.decode())
            started_at = time.time()
            response = {
                "task_id": task["id"],
                "type": task["type"],
                "worker_id": _WORKER_ID,
                "status": "done",
                "result": None,
                "attempt": 1,
                "started_at": started_at,
                "duration": 0.000001,
                "timestamp": started_at,
            }
            encoded = self._encode(response).encode()
            yield Outcome(b"%d" % self._next, task["id"].encode(), encoded)
            self._next += 1


def raw(tasks: int) -> dict[str, float]:
    """Rates of this very process over so many tasks."""
    with Site() as site:
        site.stage(tasks)
        site.unveil()
        connection = Socket(str(site.server.socket))
        try:
            first, last = _window(Loop(connection, site.keys), site.redis_pid(), tasks)
        finally:
            connection.close()
        site.check_all_done(tasks)
    return rates(first, last)


def _window(loop: Loop, redis_pid: int, tasks: int) -> tuple[Moment, Moment]:
    marks = [tasks * FROM, tasks * TO, math.inf]
    moments: list[Moment] = []
    settled = 0
    for number in loop.batches():
        settled += number
        if settled >= marks[len(moments)]:
            used = {"process": time.process_time(), "redis": cpu_seconds([redis_pid])}
            moments.append(moment(settled, used))
    first, last = moments
    return first, last


def _packed(arguments: Iterable[bytes]) -> bytes:
    """A command as RESP: https://redis.io/docs/latest/develop/reference/protocol-spec/ ."""
    words = [b"$%d\r\n%b\r\n" % (len(word), word) for word in arguments]
    return b"*%d\r\n" % len(words) + b"".join(words)
