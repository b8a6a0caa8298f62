"""Orchestrator and workers: a plan, a worker for each section, and a function that joins them.

What the workers stream is shown while it comes; the joined report is what stands at the end.
"""

import operator
from typing import Annotated

from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph
from langgraph.types import Send
from pydantic import BaseModel
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn


class Sections(BaseModel):
    """The headings of a report."""

    headings: list[str]


class Report(TypedDict, total=False):
    topic: str
    headings: list[str]
    sections: Annotated[list[str], operator.add]
    report: str


model = ChatOpenAI(model="orchestrator_workers", use_responses_api=False)


def orchestrator(state: Report) -> dict:
    plan = model.with_structured_output(Sections).invoke(f"Headings for {state['topic']}")
    return {"headings": plan.headings}


def worker(state: dict) -> dict:
    text = model.invoke(f"Write {state['heading']}").text
    return {"sections": [f"# {state['heading']}\n{text}"]}


def synthesizer(state: Report) -> dict:
    return {"report": "\n\n".join(state["sections"])}


builder = StateGraph(Report)
builder.add_node(orchestrator)
builder.add_node(worker)
builder.add_node(synthesizer)
builder.add_edge(START, "orchestrator")
builder.add_conditional_edges(
    "orchestrator",
    lambda state: [Send("worker", {"heading": heading}) for heading in state["headings"]],
    ["worker"],
)
builder.add_edge("worker", "synthesizer")
graph = builder.compile()

AGENTS = ("orchestrator", "worker", "synthesizer")
TEA = "# Leaf\nIt grows.\n\n# Cup\nIt steams."
SHOWS = Example(
    family="Workflows",
    again=1,
    takes="topic",
    turns=[
        Turn("tea", TEA, agents=AGENTS, by="synthesizer"),
        Turn("milk", f"{TEA}\n\n# Cow\nIt moos.", agents=AGENTS, by="synthesizer"),
    ],
    model={
        "Headings for tea": {"headings": ["Leaf", "Cup"]},
        "Write Leaf": "It grows.",
        "Write Cup": "It steams.",
        "Headings for milk": {"headings": ["Cow"]},
        "Write Cow": "It moos.",
    },
)
