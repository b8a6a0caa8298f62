"""The gallery's conversations with a server: what a client sees of each turn, in two vocabularies,
across kills.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from antiphon.data.ids import new_id
from tests.api.wire import SseReader, socket
from tests.graphs.example import Turn
from tests.support.deadline import DEADLINE

Event = dict[str, Any]
ENDS = ("run_complete", "run_error", "run_cancelled", "interrupt", "refused")
LOST = (httpx.TransportError, OSError, TimeoutError)
PATIENCE = DEADLINE
"""Seconds after which a turn that has not ended counts as lost, while there is a server."""


@dataclass
class Heard:
    """What a client has seen of one turn.

    end: the type of its last event. text: the answer that the end reports. shown: the answer as it
    was streamed, less what was taken back. stored, author: the thread's last message of the
    assistant, read afterwards.
    asked: the questions, as JSON. requests: how often the model was asked.
    """

    events: list[Event] = field(default_factory=list)
    end: str = ""
    text: str = ""
    shown: str = ""
    stored: str = ""
    author: str = ""
    asked: str = ""
    requests: int = 0
    took_back: bool = False
    """Whether the run of a turn in the flow vocabulary took back what was shown."""

    def of_type(self, *types: str) -> list[Event]:
        """Return the events of these types."""
        return [event for event in self.events if event["type"] in types]

    @property
    def recovered(self) -> bool:
        """Whether the run was executed anew after a crash."""
        return any(event["reason"] == "recovered" for event in self.of_type("run_attempt"))

    @property
    def done(self) -> Counter[str]:
        """How often each agent and each tool came to its end."""
        agents = (
            one["agent"]
            for one in self.of_type("agent_complete")
            if one.get("finish_reason") not in UNDONE
        )
        tools = (f"tool {one['name']}" for one in self.of_type("tool_complete"))
        return Counter([*agents, *tools])


UNDONE = ("interrupted", "cancelled", "failed")


def wrong(turn: Turn, heard: Heard) -> list[str]:
    """Return what is wrong with a turn in the native vocabulary, in words; empty if all is
    right.
    """
    found = [_differs("end", "interrupt" if turn.asks else "run_complete", heard.end)]
    if heard.end in ("run_error", "refused"):
        found.append(json.dumps(heard.events[-1]))
    if turn.asks:
        found += [
            f"{part!r} is not asked: {heard.asked}" for part in turn.asks if part not in heard.asked
        ]
        found += [
            f"{part!r} is not stored: {heard.stored}"
            for part in turn.asks
            if part not in heard.stored
        ]
    else:
        if not turn.is_answered_by(heard.text):
            found.append(_differs("answer", turn.answer, heard.text))
        found += [
            _differs("shown", heard.text, heard.shown),
            _differs("stored", heard.text, heard.stored),
        ]
    seen = {event["agent"] for event in heard.of_type("agent_start")}
    if turn.agents:
        found.append(_differs("agents", sorted(turn.agents), sorted(seen)))
    if turn.by:
        found.append(_differs("author", turn.by, heard.author))
    custom = {event["name"] for event in heard.of_type("custom")}
    found += [f"no custom event {name}" for name in turn.custom if name not in custom]
    numbers = [event["seq"] for event in heard.events if "seq" in event]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))) if numbers else False:
        found.append(f"events are missing or repeated: {numbers}")
    return [one for one in found if one]


def wrong_in_flows(turn: Turn, heard: Heard) -> list[str]:
    """Return what is wrong with a turn in the flow vocabulary.

    It cannot take back what it has shown: only if nothing was taken back, the chunks add up to the
    answer.
    """
    found = [_differs("end", "flow_completed", heard.end)]
    if heard.end != "flow_completed":
        return [*filter(None, found), json.dumps(heard.events[-1] if heard.events else None)]
    if turn.asks:
        found += [
            f"{part!r} is not asked: {heard.asked}" for part in turn.asks if part not in heard.asked
        ]
    elif not turn.is_answered_by(heard.text):
        found.append(_differs("answer", turn.answer, heard.text))
    found.append(_differs("stored", heard.text, heard.stored))
    if not heard.took_back:
        found.append(_differs("chunks", heard.text, heard.shown))
    seen = {event["data"]["element_name"] for event in heard.of_type("element_started")}
    if turn.agents:
        found.append(_differs("elements", sorted(turn.agents), sorted(seen)))
    return [one for one in found if one]


def _differs(what: str, expected: object, got: object) -> str:
    return "" if expected == got else f"{what}: expected {expected!r}, got {got!r}"


class NativeTalk:
    """One conversation over native SSE, which goes on by `Last-Event-ID` if its connection
    breaks.
    """

    def __init__(self, name: str, client: httpx.AsyncClient, up: asyncio.Event) -> None:
        self._name, self._client, self._up = name, client, up
        self._thread: str | None = None

    async def take(self, turn: Turn) -> Heard:
        """Say something, and listen until the answer, a question, or an error."""
        heard, key = Heard(), new_id()
        if turn.fresh:
            self._thread = None
        body = {"message": turn.says, "graph": self._name, **turn.request}
        body |= {"thread_id": self._thread} if self._thread else {}
        try:
            async with asyncio.timeout(PATIENCE) as patience:
                cursor = ""
                while not heard.events or heard.events[-1]["type"] not in ENDS:
                    if not self._up.is_set():
                        patience.reschedule(None)
                        await self._up.wait()
                        patience.reschedule(asyncio.get_running_loop().time() + PATIENCE)
                    cursor = await self._listen(body, key, cursor, heard.events)
                await self._sum_up(heard)
        except TimeoutError:
            heard.end = "nothing more"
        return heard

    async def _listen(self, body: Event, key: str, cursor: str, events: list[Event]) -> str:
        """Read one connection to its end. Returns the cursor behind its last event."""
        headers = {"accept": "text/event-stream", "idempotency-key": key}
        headers |= {"last-event-id": cursor} if cursor else {}
        try:
            async with self._client.stream(
                "POST", "/api/v1/runs", json=body, headers=headers
            ) as response:
                if response.status_code != 200:
                    text = (await response.aread()).decode()
                    if response.status_code != 503:
                        events.append(
                            {"type": "refused", "status": response.status_code, "body": text}
                        )
                    return cursor
                reader = SseReader(response)
                while (block := await reader.block()) is not None:
                    events.append(block.data)
                    cursor = block.id
        except LOST:
            await asyncio.sleep(0.02)  # the server is gone, and will be back
        return cursor

    async def _sum_up(self, heard: Heard) -> None:
        last = heard.events[-1]
        heard.end, heard.text = last["type"], last.get("text", "")
        heard.shown = shown(heard.events)
        if last["type"] == "refused":
            return
        self._thread = last["thread_id"]
        if last["type"] == "interrupt":
            heard.asked = json.dumps(last, ensure_ascii=False)
        await self._read_stored(heard)

    async def _read_stored(self, heard: Heard) -> None:
        """Read the thread, once more if the server is killed meanwhile."""
        while True:
            await self._up.wait()
            try:
                return await read_stored(self._client, str(self._thread), heard)
            except LOST:
                await asyncio.sleep(0.02)  # the server is gone, and will be back


class FlowTalk:
    """One conversation over the flow vocabulary's WebSocket."""

    def __init__(self, name: str, client: httpx.AsyncClient, ws: str) -> None:
        self._client, self._url = client, f"{ws}/api/chat/execute/{name}"
        self._session = new_id()

    async def take(self, turn: Turn) -> Heard:
        """Say something, and listen until the turn's last frame."""
        heard = Heard()
        if turn.fresh:
            self._session = new_id()
        try:
            async with asyncio.timeout(PATIENCE), socket(self._url) as connection:
                await connection.send(message=turn.says, session_id=self._session)
                while not heard.of_type("flow_completed", "flow_error"):
                    heard.events.append(await connection.frame())
                await self._sum_up(heard)
        except TimeoutError:
            heard.end = "nothing more"
        return heard

    async def _sum_up(self, heard: Heard) -> None:
        last = heard.events[-1]
        heard.end = last["type"]
        if heard.end != "flow_completed":
            return
        heard.text = heard.of_type("final_output")[-1]["data"]["text_output"]
        heard.asked = heard.text if "interrupt" in last["data"] else ""
        heard.shown = "".join(one["data"]["content"] for one in heard.of_type("llm_chunk"))
        path = f"/api/v1/runs/{last['data']['flow_id']}"
        run = (await self._client.get(path)).json()
        types = re.findall(r"^event: (\w+)", (await self._client.get(f"{path}/events")).text, re.M)
        answered = [place for place, kind in enumerate(types) if kind == "interrupt_answered"]
        heard.took_back = "run_attempt" in types[answered[-1] if answered else 0 :]
        await read_stored(self._client, run["thread_id"], heard)


async def read_stored(client: httpx.AsyncClient, thread: str, heard: Heard) -> None:
    """Note what the thread's last message is."""
    messages = (await client.get(f"/api/v1/threads/{thread}/messages")).json()["messages"]
    last = messages[-1]
    if last["role"] == "assistant":
        heard.stored, heard.author = last["content"], last["author"]


def shown(events: Sequence[Event]) -> str:
    """Return the answer that stands after some events: what was said, less what was taken back."""
    texts: dict[tuple[str, int], str] = {}
    for event in events:
        match event["type"]:
            case "agent_chunk" if event.get("channel", "answer") == "answer":
                text = event["span"], event.get("part", 0)
                texts[text] = texts.get(text, "") + event["text"]
            case "run_attempt":
                gone = event["supersedes"]
                parts = {(one["span"], one.get("part", 0)) for one in gone.get("texts", ())}
                spans = set(gone["spans"])
                texts = {
                    at: text for at, text in texts.items() if at not in parts and at[0] not in spans
                }
            case "interrupt_answered":
                texts.clear()
    return "\n\n".join(texts.values())


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for what other processes do, looking every few milliseconds. Returns whether it has
    come.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True
