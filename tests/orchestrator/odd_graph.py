"""A graph whose state holds what people put into states, for a process that is killed.

A message names a folder. `make` fills the state, `wait` stops for ever unless there is a file
`waited` in the folder, and `check` says which values are not what they were. What is executed is
noted in the folder.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
from collections import deque
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel


class Colour(enum.Enum):
    RED = "red"


class Size(str, enum.Enum):  # noqa: UP042 - as people still write it
    LARGE = "large"


class Person(BaseModel):
    name: str
    tags: set[str] = set()


@dataclasses.dataclass
class Point:
    x: int
    where: pathlib.Path


class Thing:
    """A plain object, which LangGraph's own serializer does not take."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing) and other.name == self.name

    __hash__ = None  # type: ignore[assignment]


def odd_values() -> dict[str, Any]:
    """The values, made anew each time."""
    values: dict[str, Any] = {
        "tuple_keys": {(1, "a"): {(2, (3, "b")): [1]}, None: 0, 1.5: 2, b"k": 3},
        "bytes": b"\x00\xff",
        "array": bytearray(b"\x00"),
        "model": Person(name="Ada", tags={"x"}),
        "point": Point(x=1, where=pathlib.PurePosixPath("/a")),
        "enums": [Colour.RED, Size.LARGE],
        "sets": [{1, 2}, frozenset({"a"})],
        "set_keys": {frozenset({1}): 2},
        "decimal": decimal.Decimal("1.10"),
        "uuid": uuid.UUID(int=7),
        "path": pathlib.PurePosixPath("/a/b"),
        "times": [
            datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
            datetime.date(2026, 1, 2),
            datetime.timedelta(seconds=1),
        ],
        "queue": deque([1, 2]),
        "large_number": 2**100,
        "complex": 1j,
        "range": range(3),
        "thing": {"deep": [Thing("a")]},
        "infinite": float("inf"),
        "text": "x" * 5_000_000,
        "message": [HumanMessage("inside", additional_kwargs={"bytes": b"\xff"})],
    }
    try:
        import numpy
        import pandas
    except ImportError:
        return values
    return values | {
        "matrix": numpy.arange(6).reshape(2, 3),
        "frame": pandas.DataFrame({"a": [1, 2]}),
    }


NAMES = tuple(odd_values())


class Odd(MessagesState, total=False):
    surrogate: Any
    earlier: str


for _name in NAMES:
    Odd.__annotations__[_name] = Any


def same(one: Any, other: Any) -> bool:
    if hasattr(one, "to_numpy") or hasattr(one, "dtype"):
        return type(one) is type(other) and bool((one == other).all(axis=None))
    return type(one) is type(other) and bool(one == other)


def note(state: Any, node: str) -> pathlib.Path:
    place = pathlib.Path(state["messages"][-1].content)
    with (place / "executed").open("a") as file:
        file.write(f"{node}\n")
    return place


def make(state: Odd) -> Any:
    note(state, "make")
    earlier = "not there" if NAMES[0] not in state else wrong(state)
    return {**odd_values(), "surrogate": "a\ud800b", "earlier": earlier}


async def wait(state: Odd) -> Any:
    marker = note(state, "wait") / "waited"
    if not marker.exists():
        await asyncio.Event().wait()
    return {}


def check(state: Odd) -> Any:
    return {"messages": [AIMessage(f"before: {state['earlier']}; now: {wrong(state)}")]}


def wrong(state: Any) -> str:
    """The names of values that are not what was stored; of a text a lone surrogate is replaced."""
    values = odd_values()
    names = [name for name in NAMES if not same(values[name], state.get(name))]
    if state.get("surrogate") not in ("a?b", "a\ud800b"):
        names.append("surrogate")
    return ", ".join(names) or "nothing"


_builder = StateGraph(Odd).add_node(make).add_node(wait).add_node(check)
_builder.add_edge(START, "make").add_edge("make", "wait").add_edge("wait", "check")
graph = _builder.compile()
