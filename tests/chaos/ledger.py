"""The ledger: every delivery of every reader, and what must be true of all of them and of the log
afterwards. Pure.

An *event* is a flat object of the native wire. The words of the model's answers are tagged with the
call that said them (`c17w3`: word 3 of call 17), so that a text which was glued together from two
calls cannot look right."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Event = Mapping[str, Any]
ENDS = {"run_complete": "completed", "run_error": "failed", "run_cancelled": "cancelled"}
COMPLETE = ("run_complete",)
KINDS = ("lost", "duplicated", "changed", "terminals", "ended", "rerun", "other")
STOPPED = ("cancelled", "failed", "interrupted")
NOTE = "Missing: "
GAP = "\n\n"
_WORD = re.compile(r"c(\d+)w(\d+) ")


@dataclass(eq=False)
class Ask:
    """One message and what became of it. `calls` are the requests that reached the model: (agent, call number)."""

    key: str
    text: str
    into: str | None = None
    """The thread that it is sent to; a new one where None."""
    words: int = 30
    words_at_once: int = 1
    delay: float = 0.002
    supporting: tuple[str, ...] = ("maintenance",)
    script: Any = None
    """`(agent, nth call) -> fields of the reply` that differ."""
    ends: tuple[str, ...] = COMPLETE
    """How it may end. Completion is all that is allowed where no fault is meant for the run itself."""
    run_id: str | None = None
    thread_id: str | None = None
    message_id: str | None = None
    """Of the acknowledgement, if there was one."""
    end: str | None = None
    calls: list[tuple[str, int]] = field(default_factory=list)

    @property
    def body(self) -> dict[str, str]:
        return {"message": self.text} | ({"thread_id": self.into} if self.into else {})


class Ledger:
    """Collects problems: `(kind, what)`."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []
        self.deliveries = 0
        self.breaks: Counter[str] = Counter()
        """Connections that were lost behind an event and before the run's end, by transport and what they carried."""
        self.zombies = False
        """Whether a process that lost its runs may live on, and ask the model once more before it notices."""
        self._seen: dict[tuple[str, int], str] = {}
        self._readers: dict[object, list[tuple[str, str, int]]] = defaultdict(list)

    def problem(self, kind: str, what: str) -> None:
        self.problems.append((kind, what))

    @property
    def counts(self) -> Counter[str]:
        return Counter(kind for kind, _ in self.problems)

    def broken(self, way: str, ask: Ask) -> None:
        """A connection was lost that had given some of a run."""
        self.breaks[f"{way}, {'replayed' if ask.end else 'live'}"] += 1

    def deliver(self, reader: object, event: Event) -> None:
        """A reader was given an event."""
        self.deliveries += 1
        place, had = (event["thread_id"], event["seq"]), self._readers[reader]
        if had and event["seq"] <= had[-1][2]:
            self.problem("duplicated", f"{reader} was given {place} behind {had[-1][2]}")
        had.append((event["run_id"], *place))
        self._same(place, event, f"to {reader}")

    def _same(self, place: tuple[str, int], event: Event, where: str) -> None:
        text = json.dumps(event, sort_keys=True)
        if (first := self._seen.setdefault(place, text)) != text:
            self.problem("changed", f"{place} {where}: {text[:300]} was {first[:300]}")

    def audit(
        self,
        log: Mapping[str, Sequence[Event]],
        messages: Mapping[str, Sequence[Event]],
        asks: Iterable[Ask],
    ):
        """Compare everything that was delivered and acknowledged with the log as it is in the end."""
        runs: dict[str, list[Event]] = defaultdict(list)
        for thread, events in log.items():
            if [e["seq"] for e in events] != list(range(1, len(events) + 1)):
                self.problem("lost", f"thread {thread} has gaps: {[e['seq'] for e in events]}")
            for event in events:
                runs[event["run_id"]].append(event)
                self._same((thread, event["seq"]), event, "in the log")
        for reader, had in self._readers.items():
            self._complete(reader, had, runs[had[0][0]])
        keys = Counter(
            e["input"]["message"]
            for events in runs.values()
            for e in events
            if e["type"] == "run_start"
        )
        for ask in asks:
            if keys[ask.text] != 1:
                self.problem(
                    "duplicated" if keys[ask.text] else "lost", f"{ask.key}: {keys[ask.text]} runs"
                )
            elif events := runs.get(ask.run_id or "", []):
                self._run(ask, events, messages.get(events[0]["thread_id"], ()))
            else:
                self.problem("lost", f"{ask.key}: nobody was ever told of its run {ask.run_id}")

    def _complete(
        self, reader: object, had: list[tuple[str, str, int]], events: list[Event]
    ) -> None:
        got, are = [seq for *_, seq in had], [e["seq"] for e in events]
        if missing := sorted(set(are) - set(got)):
            self.problem("lost", f"{reader} was never given {missing} of {len(are)}")
        if vanished := sorted(set(got) - set(are)):
            self.problem(
                "changed", f"{reader} was given {vanished}, which are not in the log of the run"
            )

    def _run(self, ask: Ask, events: list[Event], messages: Sequence[Event]) -> None:
        ends = [e for e in events if e["type"] in ENDS]
        if len(ends) != 1 or events[-1] is not ends[0]:
            self.problem(
                "terminals", f"{ask.key}: {[e['type'] for e in ends]}, last is {events[-1]['type']}"
            )
            return
        ask.end = ends[0]["type"]
        if ask.end not in ask.ends:
            self.problem(
                "ended",
                f"{ask.key}: ended as {ask.end} {ends[0].get('code', '')}, not as {ask.ends}",
            )
        self._attempts(ask, events)
        said = self._texts(ask, events)
        text = ends[0].get("text" if ask.end == "run_complete" else "partial_text", "")
        if text != GAP.join(said):
            self.problem("other", f"{ask.key}: the end says {text!r}, the chunks {said}")
        if ask.end == "run_complete" and len(_WORD.findall(text)) != ask.words:
            self.problem(
                "lost", f"{ask.key}: its answer has {len(_WORD.findall(text))} words of {ask.words}"
            )
        self._messages(ask, events, messages, text)
        self._calls(ask, events, ends[0])

    def _attempts(self, ask: Ask, events: list[Event]) -> None:
        attempt = 1
        for event in events:
            if event["attempt"] != attempt:
                if event["attempt"] < attempt or event["type"] != "run_attempt":
                    self.problem(
                        "other",
                        f"{ask.key}: attempt {event['attempt']} begins with {event['type']}",
                    )
                attempt = event["attempt"]

    def _texts(self, ask: Ask, events: list[Event]) -> list[str]:
        """The texts that stand as the answer; each must come from one call, begin to (its) end."""
        text: dict[tuple[str, int], str] = {}
        channel: dict[tuple[str, int], str] = {}
        opened: dict[str, str] = {}
        done: set[str] = set()
        for event in events:
            span, kind = event.get("span", ""), event["type"]
            if kind == "agent_start":
                if event["agent"] in done:
                    self.problem(
                        "rerun", f"{ask.key}: {event['agent']} begins again at {event['seq']}"
                    )
                opened[span] = event["agent"]
            elif kind in ("agent_chunk", "agent_complete", "agent_error") and span not in opened:
                self.problem(
                    "other", f"{ask.key}: {kind} {event['seq']} of {span}, which is not open"
                )
            elif kind == "agent_chunk":
                key = (span, event.get("part", 0))
                channel[key] = event.get("channel", "answer")
                text[key] = text.get(key, "") + event["text"]
            elif kind == "agent_complete":
                said = GAP.join(one for key, one in text.items() if key[0] == span)
                if event.get("text", "") != said:
                    self.problem(
                        "other", f"{ask.key}: {span} says {said!r}, its end {event.get('text')!r}"
                    )
                if event.get("finish_reason") not in STOPPED:
                    done.add(event["agent"])
                del opened[span]
            elif kind == "agent_error":
                del opened[span]
            elif kind == "run_attempt":
                spans = set(event["supersedes"]["spans"])
                parts = {
                    (one["span"], one.get("part", 0))
                    for one in event["supersedes"].get("texts", ())
                }
                text = {
                    key: one
                    for key, one in text.items()
                    if key[0] not in spans and key not in parts
                }
                if event["reason"] == "recovered":
                    opened = {span: agent for span, agent in opened.items() if span not in spans}
        if opened:
            self.problem("other", f"{ask.key}: never ended: {opened}")
        for (span, _), whole in text.items():
            words = [(int(call), int(n)) for call, n in _WORD.findall(whole)]
            expected = "".join(f"c{words[0][0]}w{n} " for n in range(len(words))) if words else ""
            if whole.partition(NOTE)[0] != expected:
                self.problem("other", f"{ask.key}: {span} is mixed: {whole!r}")
        return [whole for key, whole in text.items() if channel[key] == "answer" and whole]

    def _messages(
        self, ask: Ask, events: list[Event], messages: Sequence[Event], text: str
    ) -> None:
        reply_id = next(e["reply_id"] for e in events if e["type"] == "run_start")
        saved = [e["message"]["role"] for e in events if e["type"] == "message_saved"]
        asked = [m for m in messages if m["content"] == ask.text]
        replies = [m for m in messages if m["id"] == reply_id]
        if (
            len(asked) != 1
            or (ask.message_id and asked[0]["id"] != ask.message_id)
            or saved.count("user") != 1
        ):
            self.problem(
                "duplicated" if len(asked) > 1 else "lost",
                f"{ask.key}: stored {len(asked)}x, saved {saved}",
            )
        whole = ask.end == "run_complete"
        if [m["content"] for m in replies if m["partial"] is not whole] != ([text] if text else []):
            self.problem("lost", f"{ask.key}: its reply is stored as {replies}, not {text!r}")
        if saved.count("assistant") != bool(text):
            self.problem("duplicated", f"{ask.key}: saved {saved}")

    def _calls(self, ask: Ask, events: list[Event], end: Event) -> None:
        """A node that completed is not asked for again: its text is its last call's; phases never go back."""
        last = dict(ask.calls)
        for event in events:
            if event["type"] == "agent_complete" and (
                words := _WORD.findall(event.get("text", ""))
            ):
                number, agent = int(words[0][0]), event["agent"]
                if (
                    event.get("finish_reason") not in STOPPED
                    and last.get(agent) != number
                    and not self.zombies
                ):
                    self.problem(
                        "rerun",
                        f"{ask.key}: {agent} said call {number}, asked again in {last.get(agent)}",
                    )
        if self.zombies:
            return
        order = [_PHASE.get(agent, 1) for agent, _ in ask.calls]
        if order != sorted(order):
            self.problem("rerun", f"{ask.key}: {ask.calls}")
        many = {
            a: n for a, n in Counter(agent for agent, _ in ask.calls).items() if n > end["attempt"]
        }
        if many and ask.script is None:
            self.problem("rerun", f"{ask.key}: {many} calls in {end['attempt']} attempts")


_PHASE = {"classifier": 0, "troubleshooting": 2, "synthesis": 3}
