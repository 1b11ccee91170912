"""Computational tasks, kind a: primes, matrices, hashes, a simulation.

They compute from their arguments alone and touch neither files nor the network. Whatever can
never be right about the arguments raises BadData, so that the task is buried at once.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import operator
import random
from collections.abc import Sequence
from typing import Any

from meshd import BadData, task
from meshd.tasks.arguments import integer, number, rows, string

COUNT_LIMIT = 10**10  # ~30 s
_SPAN = 2**22  # numbers per segment; one byte for each odd one

# With the 13 primes below 43 as bases Miller-Rabin never errs below this number:
# Sorenson & Webster, "Strong pseudoprimes to twelve prime bases", Math. Comp. 86 (2017).
FACTORIZE_LIMIT = 3317044064679887385961981 - 1
_BASES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
_TRIAL_LIMIT = 1000

SIDE_LIMIT = 1000
PRODUCT_LIMIT = 40_000  # numbers of up to 24 characters: what a result of 1 MiB can hold

ROUNDS_LIMIT = 100_000_000  # ~30 s
TEXT_LIMIT = 2**20

SAMPLES_LIMIT = 100_000_000  # ~10 s


@task("primes.count", timeout=600)
def count(limit: int) -> int:
    """Count the primes up to and including `limit`, by a segmented sieve of Eratosthenes.

    Data: `limit`, 0 to 10,000,000,000. Result: the number of primes. Needs 4 MiB at most.
    """
    limit = integer("limit", limit, 0, COUNT_LIMIT)
    if limit < 2:
        return 0
    roots = _odd_primes(math.isqrt(limit))
    return 1 + sum(
        _sieve(low, min(low + _SPAN, limit + 1), roots).count(1)
        for low in range(3, limit + 1, _SPAN)
    )


def _odd_primes(limit: int) -> list[int]:
    if limit < 3:
        return []
    roots = _odd_primes(math.isqrt(limit))
    return [3 + 2 * i for i, prime in enumerate(_sieve(3, limit + 1, roots)) if prime]


def _sieve(low: int, high: int, roots: list[int]) -> bytearray:
    """One byte for each odd number from `low` (odd) to below `high`: 1 for a prime.

    `roots` holds at least the odd primes whose square is below `high`, in order.
    """
    size = (high - low + 1) // 2
    segment = bytearray(b"\x01") * size
    for prime in roots:
        square = prime * prime
        if square >= high:
            break
        first = square if square >= low else low + -low % prime
        if first % 2 == 0:
            first += prime
        start = (first - low) // 2
        segment[start::prime] = bytes(len(range(start, size, prime)))
    return segment


@task("primes.factorize", timeout=600)
def factorize(n: int) -> list[int]:
    """Split `n` into its prime factors: trial division, then Pollard's rho for what is left.

    Data: `n`, 1 to 3,317,044,064,679,887,385,961,980 (81 bits; two factors of 40 bits take a
    second). Result: the primes in ascending order, repeated as often as they divide; [] for 1.
    """
    rest = integer("n", n, 1, FACTORIZE_LIMIT)
    factors = []
    for prime in (2, *_odd_primes(_TRIAL_LIMIT)):
        while rest % prime == 0:
            factors.append(prime)
            rest //= prime
    return factors + sorted(_large_factors(rest))


def _large_factors(n: int) -> list[int]:
    if n == 1:
        return []
    if _is_prime(n):
        return [n]
    divisor = next(filter(None, (_divisor(n, offset) for offset in itertools.count(1))))
    return _large_factors(divisor) + _large_factors(n // divisor)


def _is_prime(n: int) -> bool:
    """Miller-Rabin, exact for an odd `n` above the largest base and up to FACTORIZE_LIMIT."""
    even = n - 1
    twos = (even & -even).bit_length() - 1
    odd = even >> twos
    return not any(_is_witness(base, n, odd, twos) for base in _BASES)


def _is_witness(base: int, n: int, odd: int, twos: int) -> bool:
    power = pow(base, odd, n)
    if power in (1, n - 1):
        return False
    for _ in range(twos - 1):
        power = power * power % n
        if power == n - 1:
            return False
    return True


def _divisor(n: int, offset: int) -> int | None:
    """A proper divisor of the composite `n`; None when x -> x^2 + offset does not find one.

    Pollard's rho with Brent's cycle search: "An improved Monte Carlo factorization algorithm",
    BIT 20 (1980). Differences are multiplied in batches, because one gcd costs many products.
    """
    batch = 128
    ahead, steps = 2, 1
    while True:
        start = ahead
        for _ in range(steps):
            ahead = (ahead * ahead + offset) % n
        for done in range(0, steps, batch):
            checkpoint, product = ahead, 1
            for _ in range(min(batch, steps - done)):
                ahead = (ahead * ahead + offset) % n
                product = product * (start - ahead) % n
            if math.gcd(product, n) != 1:
                return _first_divisor(n, offset, start, checkpoint)
        steps *= 2


def _first_divisor(n: int, offset: int, start: int, ahead: int) -> int | None:
    """Walk through the batch that met a divisor again, one step at a time."""
    while True:
        ahead = (ahead * ahead + offset) % n
        divisor = math.gcd(start - ahead, n)
        if divisor != 1:
            return divisor if divisor != n else None


@task("matrix.multiply")
def multiply(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> list[list[float]]:
    """Multiply two matrices, each a list of rows.

    Data: `a` and `b`, rectangular, at most 1,000 rows and columns, with as many columns in `a`
    as rows in `b`, and a product of at most 40,000 numbers. Whole numbers stay exact and lie
    within +-2^53, others within +-1e150. Result: the rows of the product.
    """
    left, right = _matrix("a", a), _matrix("b", b)
    if len(left[0]) != len(right):
        raise BadData(
            f"argument 'b' has {len(right)} rows; expected {len(left[0])}, "
            "as many as argument 'a' has columns"
        )
    if len(left) * len(right[0]) > PRODUCT_LIMIT:
        raise BadData(
            f"arguments 'a' and 'b' have a product of {len(left)} x {len(right[0])}; "
            f"expected at most {PRODUCT_LIMIT:,} numbers"
        )
    columns = list(zip(*right))
    return [[sum(map(operator.mul, row, column)) for column in columns] for row in left]


def _matrix(name: str, value: Any) -> list[list[float]]:
    return [
        [_entry(f"{name}[{i}][{j}]", entry) for j, entry in enumerate(row)]
        for i, row in enumerate(rows(name, value, SIDE_LIMIT))
    ]


def _entry(name: str, value: Any) -> float:
    if type(value) is int:
        return integer(name, value, -(2**53), 2**53)
    return number(name, value, -1e150, 1e150)


@task("hash.stretch", timeout=600)
def stretch(text: str, rounds: int = 100_000) -> str:
    """Hash `text` with SHA-256, then the digest again and again, `rounds` times in all.

    Data: `text`, at most 1,048,576 characters, hashed as UTF-8; `rounds`, 1 to 100,000,000.
    Result: the last digest in hexadecimal. It shows work; to store passwords use hashlib.scrypt.
    """
    digest = string("text", text, TEXT_LIMIT).encode()
    for _ in range(integer("rounds", rounds, 1, ROUNDS_LIMIT)):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


@task("montecarlo.pi", timeout=600)
def estimate_pi(samples: int = 1_000_000, seed: int | None = None) -> dict[str, Any]:
    """Estimate pi from random points in the unit square: four times the share inside the circle.

    Data: `samples`, 1 to 100,000,000; `seed`, 0 to 2^64 - 1, chosen at random when absent: the
    same seed gives the same points on every machine.
    Result: `estimate`, its `standard_error` 4 * sqrt(p * (1 - p) / samples), `samples`, `seed`.
    """
    samples = integer("samples", samples, 1, SAMPLES_LIMIT)
    if seed is None:
        seed = random.getrandbits(63)
    seed = integer("seed", seed, 0, 2**64 - 1)
    inside = _points_inside(samples, random.Random(seed)) / samples  # noqa: S311  a simulation
    return {
        "estimate": 4 * inside,
        "standard_error": 4 * math.sqrt(inside * (1 - inside) / samples),
        "samples": samples,
        "seed": seed,
    }


def _points_inside(samples: int, source: random.Random) -> int:
    draw = source.random
    inside = 0
    for _ in range(samples):
        x, y = draw(), draw()
        if x * x + y * y <= 1:
            inside += 1
    return inside
