"""`entrypoint.final(value=..., save=...)`: the value is the answer, what is saved stays inside."""

from typing import Any

from langgraph.func import entrypoint

from tests.graphs.example import Example, Turn


@entrypoint()
def graph(message: str, *, previous: Any = None) -> entrypoint.final[str, dict]:
    words = (previous or {}).get("words", 0) + len(message.split())
    return entrypoint.final(value=f"{words} words so far.", save={"words": words})


SHOWS = Example(
    family="Functional API",
    takes="",
    turns=[
        Turn("one two", "2 words so far.", agents=["graph"], by="graph"),
        Turn("three", "3 words so far.", agents=["graph"], by="graph"),
    ],
)
