"""Payloads that a worker must survive: noise, tasks with something wrong in them, tasks.

All of them follow from one seed, so a finding can be repeated.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

TYPES: Final = ("echo", "takes.limit", "takes.anything", "fails", "discards", "nobody.knows")
MEMBERS: Final = (
    *("type", "data", "id", "task_id", "timeout", "max_attempts"),
    *("expires_at", "unique", "unique_ttl", "created_at"),
)
COUNTS: Final = ("id", "attempts", "crashes", "deaths", "first_at", "cause")
MIB: Final = 1 << 20
#: What Python's own json would not write.
_LITERALS: Final = {
    "5,000 digits": "9" * 5000,
    "beyond a double": "1e400",
    "below a double": "1e-400",
    "exponent": "1E+2",
    "negative zero": "-0",
}


class Payloads:
    """An endless row of them; the large ones only by `large`."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def __iter__(self) -> Iterator[bytes]:
        while True:
            (make,) = self._dice.choices(list(_SHARES), list(_SHARES.values()))
            yield make(self)

    # --- whole payloads

    def noise(self) -> bytes:
        """Any bytes: often few, sometimes some KiB."""
        return self._dice.randbytes(
            int(self._dice.choice([2, 40, 400, 8000]) ** self._dice.random()) - 1
        )

    def sound(self) -> bytes:
        return self._written(self._task())

    def odd(self) -> bytes:
        """JSON, but for one to three of its members."""
        task = self._task()
        for _ in range(self._dice.randint(1, 3)):
            name = self._dice.choice(MEMBERS)
            task.pop(name, None)
            if self._dice.random() < 0.9:
                task[name] = self._odd_value()
        return self._written(task)

    def torn(self) -> bytes:
        """A task that something has happened to on its way."""
        payload = bytearray(self.sound())
        for _ in range(self._dice.randint(1, 3)):
            at, length = self._dice.randrange(len(payload) + 1), self._dice.randint(0, 9)
            match self._dice.choice(["flip", "cut", "repeat", "insert", "behind"]):
                case "flip" if at < len(payload):
                    payload[at] ^= 1 << self._dice.randrange(8)
                case "cut":
                    del payload[at:]
                case "repeat":
                    payload[at:at] = payload[at : at + length]
                case "insert":
                    payload[at:at] = self._dice.randbytes(length)
                case _:
                    payload += self.sound()
        return bytes(payload)

    def enveloped(self) -> bytes:
        """An entry as only a worker writes it, or nearly."""
        said: dict[str, Any] = {"id": f"e{self._dice.getrandbits(40)}"}
        for name in COUNTS:
            if self._dice.random() < 0.3:
                said[name] = self._odd_value()
            elif self._dice.random() < 0.5 and name in ("attempts", "crashes", "deaths"):
                said[name] = self._dice.randint(0, 2)
        line = self._written(said)
        if self._dice.random() < 0.2:
            line = line[: self._dice.randrange(len(line))]
        end = b"\n" if self._dice.random() < 0.9 else b""
        return b"\x1f" + line + end + self._dice.choice([self.sound, self.odd, self.noise])()

    def deep(self) -> bytes:
        """Nested about as deep as some parser in the way can follow, or far deeper."""
        depth = self._dice.choice([100, 400, 900, 950, 980, 990, 1000, 1100, 30_000])
        opening, closing = self._dice.choice([(b"[", b"]"), (b'{"a":', b"}")])
        nest = opening * depth + b"0" + closing * depth
        return self._dice.choice([b"%b", b'{"type":"echo","data":{"value":%b}}']) % nest

    def large(self) -> bytes:
        """About as long as is allowed, or longer."""
        size = self._dice.choice([MIB - 40, MIB, MIB + 1, MIB + 1024, 2 * MIB])
        return b'{"type":"takes.anything","data":"%b"}' % (b"x" * (size - 37))

    # --- what they are made of

    def _task(self) -> dict[str, Any]:
        dice = self._dice
        task: dict[str, Any] = {"type": dice.choice(TYPES)}
        if dice.random() < 0.8:
            name = "limit" if task["type"] == "takes.limit" else "value"
            task["data"] = {name: dice.choice([1, "é", None, [1.5, {"x": "y"}]])}
        if dice.random() < 0.5:
            task["id"] = f"t{dice.getrandbits(40)}"
        return task

    def _written(self, value: Any) -> bytes:
        """As some library would write it."""
        ascii_only = self._dice.random() < 0.7
        text = json.dumps(value, ensure_ascii=ascii_only, indent=self._dice.choice([None, None, 1]))
        for name, literal in _LITERALS.items():
            text = text.replace(f'"{name}"', literal)
        return text.encode(errors="surrogatepass")

    def _odd_value(self) -> Any:
        return self._dice.choice(_ODD)(self._dice)


_ODD: Final[tuple[Callable[[random.Random], Any], ...]] = (
    lambda _: None,
    lambda dice: dice.choice([True, False]),
    lambda dice: dice.choice([0, -1, 1, 2, 2**31 - 1, 2**31, 2**63, 2**64, -(2**63)]),
    lambda dice: 10 ** dice.choice([15, 308, 309, 4000, 4299]) * dice.choice([1, -1]),
    lambda dice: dice.choice(list(_LITERALS)),
    lambda dice: dice.choice([0.0, -0.0, 0.5, 1e-9, 5e-324, 1e15, 1e308]),
    lambda dice: float(dice.choice(["nan", "inf", "-inf"])),
    lambda dice: dice.choice(["", "x", "1", "-", "\n", "\0", "é", "\U0001f600", "{}", "\x1f"]),
    lambda dice: dice.choice(["\ud800", "x\udfff", "\udc00\ud800"]),
    lambda dice: "x" * dice.choice([127, 128, 129, 256, 257, 5000]),
    lambda dice: dice.choice(TYPES),
    lambda _: [],
    lambda _: {},
    lambda dice: [dice.choice([1, "x", None, [[]], {"type": "echo"}])],
    lambda dice: {dice.choice(["limit", "value", "self", "", "\ud800", "a b"]): 1},
)

#: What is made how often.
_SHARES: Final[dict[Callable[[Payloads], bytes], float]] = {
    Payloads.noise: 20,
    Payloads.sound: 20,
    Payloads.odd: 30,
    Payloads.torn: 20,
    Payloads.enveloped: 10,
    Payloads.deep: 0.2,
}
