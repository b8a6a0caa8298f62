"""SSE bytes, and the naive readers that must understand them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.api import sse

texts = st.text(st.characters(exclude_categories=("Cs",)))
SEPARATORS = "\u2028\u2029\x85"


def encode(value: object) -> bytes:
    return sse.encode(json.dumps(value, ensure_ascii=False).encode(), "r:1.0", "token")


@given(texts, st.text(SEPARATORS + "a\r\n\v\f\x1c\x1d\x1e🙂"))
def test_an_event_is_three_lines_however_lines_are_split(text: str, hostile: str) -> None:
    event = encode({"text": text + hostile})
    for lines in (event.split(b"\n"), event.splitlines(), event.decode().splitlines()):
        whole = [line.decode() if isinstance(line, bytes) else line for line in lines]
        assert [line.partition(":")[0] for line in whole if line] == ["event", "id", "data"]
    data = event.decode().split("\n")[2]
    assert data.startswith("data: ")
    assert json.loads(data[6:]) == {"text": text + hostile}


@given(texts)
def test_bytes_without_separators_are_left_as_they_are(text: str) -> None:
    data = json.dumps(text).encode()
    assert sse.encode(data, "r:1.0") == b"id: r:1.0\ndata: " + data + b"\n\n"


def test_the_order_of_lines_and_the_one_space() -> None:
    assert sse.encode(b"{}", "r:1.0", "token") == b"event: token\nid: r:1.0\ndata: {}\n\n"


@pytest.mark.parametrize("separator", SEPARATORS)
def test_separators_are_escaped(separator: str) -> None:
    assert separator.encode() not in encode(separator)
    assert f"\\u{ord(separator):04x}".encode() in encode(separator)


def test_comments_are_comments() -> None:
    assert sse.OPEN == b": open\n\n"
    assert sse.HEARTBEAT == b": hb\n"
    assert sse.RETRY == b"retry: 2000\n"
