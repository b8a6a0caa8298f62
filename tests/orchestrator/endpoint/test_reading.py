from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.orchestrator.endpoint import reading
from antiphon.orchestrator.endpoint.reading import BodyReader
from antiphon.orchestrator.errors import NoCompletion


def read(body: bytes, size: int = 0) -> tuple[list[bytes], bool]:
    reader = BodyReader()
    texts = []
    step = size or max(1, len(body))
    for start in range(0, len(body), step):
        texts += reader.feed(body[start : start + step])
    return [*texts, *reader.close()], reader.done


@pytest.mark.parametrize(
    ("body", "texts", "done"),
    [
        (b'data: {"a":1}\n\ndata: [DONE]\n\n', [b'{"a":1}'], True),
        (b'data:{"a":1}\r\n\r\ndata:[DONE]\r\n\r\n', [b'{"a":1}'], True),
        (b'data: {"a":1}\r\rdata: [DONE]\r\r', [b'{"a":1}'], True),
        (b': hello\n\n: ping\nevent: x\nid: 7\ndata: {"a":\ndata: 1}\n\n', [b'{"a":\n1}'], False),
        (b'\xef\xbb\xbfdata: {"a":1}\n\n', [b'{"a":1}'], False),
        (b'data: {"a":1}', [b'{"a":1}'], False),
        (b'  {"choices": []}  ', [b'{"choices": []}  '], True),
        (b"", [], False),
        (b"\n\n\n", [], False),
    ],
)
def test_bodies_of_all_kinds_are_read_whatever_the_network_cuts(
    body: bytes, texts: list[bytes], done: bool
) -> None:
    for size in (0, 1, 2, 3, 7):
        assert read(body, size) == (texts, done)


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20))), st.integers(1, 40))
def test_whatever_json_is_sent_arrives(values: list[dict[str, str]], size: int) -> None:
    body = b"".join(b"data: %s\n\n" % json.dumps(value).encode() for value in values)
    assert [json.loads(text) for text in read(body, size)[0]] == values


def test_a_page_of_html_is_refused_at_once() -> None:
    with pytest.raises(NoCompletion):
        BodyReader().feed(b"\n<!DOCTYPE html>")


def test_a_line_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BODY_LIMIT", 1000)
    reader = BodyReader()
    with pytest.raises(NoCompletion):
        for _ in range(100):
            reader.feed(b"data: " + b"x" * 100)
