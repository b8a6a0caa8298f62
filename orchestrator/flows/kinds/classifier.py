"""`classifier`: chooses one of some classes. Its output is the name of the class."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import msgspec
from langchain_core.language_models import BaseChatModel

from antiphon.orchestrator.events import Interaction
from antiphon.orchestrator.flows.definition import Config, FlowProblem, Kind, Node
from antiphon.orchestrator.flows.nodes import Visit
from antiphon.orchestrator.models import StructuredOutput
from antiphon.orchestrator.team.nodes.classifier import choose
from antiphon.orchestrator.team.routing import Candidate, route_schema


class FlowClass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the classes to choose from."""

    name: str
    description: str = ""
    examples: list[str] = []


class ClassifierConfig(Config, frozen=True):
    """The classes, and the text to classify."""

    classes: list[FlowClass]
    text: str = "{{ message }}"


def check(node: Node, specialists: Collection[str]) -> Iterator[FlowProblem]:
    """Report a wrong number of classes, and names that are blank or used twice."""
    names = [class_.name for class_ in node.config.classes]
    if not 2 <= len(names) <= 20:
        yield node.problem("MISSING_INPUT", "A classifier needs 2 to 20 classes.", "classes")
    elif len(set(names)) < len(names) or not all(name.strip() for name in names):
        yield node.problem("DUPLICATE_ID", "Classes need names of their own.", "classes")


def prepare(node: Node, model: BaseChatModel) -> StructuredOutput:
    """Return the output that asks for one of the names. It remembers what its endpoint can do."""
    return StructuredOutput(model, route_schema([class_.name for class_ in node.config.classes]))


async def run(visit: Visit) -> dict[str, Any]:
    """Choose a class and report the choice."""
    node, text = visit.node, visit.text("text")
    candidates: list[Candidate] = [
        (class_.name, class_.description, tuple(class_.examples)) for class_ in node.config.classes
    ]
    visit.progress(0.1, "agent_routing")
    route = await choose(visit.prepared, text, candidates)
    choice = Interaction(
        source=node.id, target=route.primary, kind="route", query=text, reason=route.reason
    )
    visit.context.emit(choice)
    return visit.reply(route.primary)


KIND = Kind(
    config=ClassifierConfig,
    run=run,
    check=check,
    prepare=prepare,
    templates=("text",),
    role="classifier",
    speaks=True,
)
