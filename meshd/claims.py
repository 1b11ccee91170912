"""The work in hand: an entry that was claimed becomes a Claim that a runner can be fed, or the
settlement that says why it cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from meshd.broker.entry import read_entry
from meshd.broker.slot import Claimed
from meshd.config import KindSettings
from meshd.protocol import Envelope, Task
from meshd.retry import NO_OPTIONS, Options, Policy, policy
from meshd.runner.frames import encode

NO_TYPES: Mapping[str, Options] = {}  # the handlers are not known: the kind's own rules hold


class Claim:
    """A claimed task: what it is, what happened to it before, and how long it may take."""

    __slots__ = (
        "cancelled",
        "entry",
        "envelope",
        "expected",
        "id",
        "number",
        "payload",
        "policy",
        "task",
    )

    def __init__(
        self,
        claimed: Claimed,
        payload: bytes,
        envelope: Envelope,
        task: Task,
        rules: Policy,
    ) -> None:
        self.number = claimed.number
        self.entry = claimed.entry
        self.payload = payload
        self.envelope = envelope
        self.task = task
        self.policy = rules
        self.id = envelope.id
        self.expected = 0.0  # seconds of work, set when it is fed
        self.cancelled = False  # somebody has ordered that it shall not run (any more)

    @property
    def attempt(self) -> int:
        return self.envelope.attempts + 1

    def frame(self) -> bytes:
        """What the runner is sent."""
        envelope = self.envelope
        head = b'[%d,"%b",%d,%d,%.6g]' % (
            self.number, self.id.encode(), envelope.attempts + 1, envelope.crashes,
            self.policy.timeout,
        )  # fmt: skip
        return encode(head, self.payload)


class Types:
    """The types that the runners know, with the policy of each worked out beforehand."""

    def __init__(self, kind: KindSettings, options: Mapping[str, Options]) -> None:
        self._kind = kind
        self._options = options
        self._policies = {name: policy(kind, said) for name, said in options.items()}
        self._other = policy(kind)

    def __contains__(self, task_type: object) -> bool:
        return task_type in self._policies

    def __iter__(self) -> Iterator[str]:
        return iter(self._policies)

    def policy(self, task: Task) -> Policy:
        """What holds for a task: its message may say more than its type and its kind."""
        if task.timeout is None and task.max_attempts is None:
            return self._policies.get(task.type, self._other)
        options = self._options.get(task.type, NO_OPTIONS)
        return policy(self._kind, options, task.timeout, task.max_attempts)


def read(claimed: Claimed, types: Types, limit: int, now: float) -> Claim:
    """Decode an entry. Raises Refused. `limit` is max_payload in bytes, `now` Unix seconds."""
    payload, envelope, task = read_entry(claimed, limit, now)
    return Claim(claimed, payload, envelope, task, types.policy(task))
