"""What the flow vocabulary keeps of a run's elements: names, order, what each gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from antiphon.api.dialects.base import STOPPED
from antiphon.orchestrator import events as ev


class Element(msgspec.Struct, frozen=True):
    """One agent at work, by the names that frames have for it."""

    element_id: str
    element_type: str
    element_name: str

    @classmethod
    def of(cls, event: ev.AgentStart) -> Element:
        """Return the element that begins."""
        plain = "agent" if event.role in ("primary", "supporting") else event.role
        return cls(event.agent, event.kind or plain, event.title or event.agent)


class Elements:
    """The elements of a run so far."""

    def __init__(self) -> None:
        self.outputs: dict[str, Any] = {}
        """What each element gave, by its id."""
        self._by_span: dict[str, Element] = {}
        self._order: dict[str, str] = {}
        """Elements in the order in which they began, by span."""
        self._asking: list[str] = []
        """Spans that ended with a question, whose elements begin anew with the answer."""
        self._searcher = ""
        self._hits: dict[str, list[ev.Hit]] = {}
        """What was found, by the element that searched."""
        self._chosen: dict[str, str] = {}
        """What classifiers chose."""

    @property
    def order(self) -> list[str]:
        """The ids of elements in the order in which they began."""
        return list(self._order.values())

    @property
    def asking(self) -> str:
        """The element that asks; empty if none is known."""
        return self._by_span[self._asking[-1]].element_id if self._asking else ""

    def see(self, event: ev.AnyEvent) -> None:
        """Note what an interaction or a search adds to an element."""
        match event:
            case ev.Interaction(kind="route"):
                self._chosen[event.source] = event.target
            case ev.Interaction(kind="retrieve"):
                self._searcher = event.source
            case ev.Sources():
                self._hits.setdefault(self._searcher, []).extend(event.hits)

    def begin(self, event: ev.AgentStart) -> Element:
        """Return the element that begins."""
        element = self._by_span[event.span] = Element.of(event)
        self._order[event.span] = element.element_id
        return element

    def complete(self, event: ev.AgentComplete) -> Element | None:
        """Return the element that is done, with its `outputs`; None if it was stopped."""
        if event.finish_reason in STOPPED:
            if event.finish_reason == "interrupted":
                self._asking.append(event.span)
            return None
        unknown = Element(event.agent, event.role, event.agent)
        element = self._by_span.get(event.span) or unknown
        self.outputs[element.element_id] = self._outputs_of(element.element_id, event)
        return element

    def begin_anew(self, spans: Sequence[str] | None = None) -> None:
        """Forget elements that are executed once more: by their spans, or those that asked."""
        for span in self._asking if spans is None else spans:
            self._order.pop(span, None)
        if spans is None:
            self._asking = []

    def _outputs_of(self, element_id: str, event: ev.AgentComplete) -> dict[str, Any]:
        """Return what an element gave: its text, its own value, or what it chose."""
        outputs: dict[str, Any] = {}
        values = event.outputs.get("outputs")
        if event.text:
            outputs["output"] = event.text
        elif isinstance(values, dict) and element_id in values:
            outputs["output"] = values[element_id]
        elif element_id in self._chosen:
            outputs["output"] = self._chosen.pop(element_id)
        if element_id in self._hits:
            outputs["sources"] = self._hits.pop(element_id)
        return outputs
