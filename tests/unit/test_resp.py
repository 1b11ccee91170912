"""Replies of Redis taken apart, by hiredis where it is installed and by meshd's own reader."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from meshd.broker.resp import NOT_YET, NotRedis, PlainReader, Reader, Refused, new_reader

READERS = pytest.mark.parametrize("make", [PlainReader, new_reader])
SCALARS = st.one_of(
    st.none(), st.binary(max_size=300), st.integers(-(2**63), 2**63 - 1),
    st.from_regex(r"[A-Z]{2,10} [ -~]{0,40}", fullmatch=True).map(Refused),
)  # fmt: skip
REPLIES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=5), max_leaves=20)


def encoded(reply: Any) -> bytes:
    """The bytes in which a server says it."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, Refused):
        return b"-%b\r\n" % str(reply).encode()
    return b"*%d\r\n%b" % (len(reply), b"".join(map(encoded, reply)))


def comparable(reply: Any) -> Any:
    """Refusals compare by what they say."""
    if isinstance(reply, list):
        return [comparable(each) for each in reply]
    return ("refused", str(reply)) if isinstance(reply, Refused) else reply


def all_of(reader: Reader) -> list[Any]:
    found = []
    while (reply := reader.gets()) is not NOT_YET:
        found.append(comparable(reply))
    return found


@READERS
@given(replies=st.lists(REPLIES, max_size=6), cuts=st.lists(st.integers(0, 2000), max_size=8))
def test_replies_come_out_whole_however_they_are_cut(
    make: Callable[[], Reader], replies: list[Any], cuts: list[int]
) -> None:
    sent = b"".join(map(encoded, replies))
    places = sorted({0, len(sent), *(cut % (len(sent) + 1) for cut in cuts)})
    reader, read = make(), []
    for start, end in itertools.pairwise(places):
        reader.feed(sent[start:end])
        read += all_of(reader)
    assert read == [comparable(reply) for reply in replies]


@READERS
@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (b"+OK\r\n", b"OK"),
        (b"*-1\r\n", None),
        (b"*0\r\n", []),
        (b"$0\r\n\r\n", b""),
        (b":0\r\n", 0),
    ],
)  # fmt: skip
def test_special_forms(make: Callable[[], Reader], sent: bytes, reply: Any) -> None:
    reader = make()
    reader.feed(sent)
    assert all_of(reader) == [reply]


@READERS
@pytest.mark.parametrize("sent", [b"HTTP/1.1 400 Bad Request\r\n", b"$x\r\n", b"*many\r\n"])
def test_what_is_no_reply_is_said(make: Callable[[], Reader], sent: bytes) -> None:
    reader = make()
    reader.feed(sent)
    with pytest.raises(NotRedis):
        reader.gets()
