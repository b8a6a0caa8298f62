"""Map and reduce: one `Send` for each part, in parallel; what the parts say is material."""

import operator
from typing import Annotated

from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph
from langgraph.types import Send
from pydantic import BaseModel
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn


class Subjects(BaseModel):
    """What to write about."""

    subjects: list[str]


class Poem(TypedDict, total=False):
    topic: str
    subjects: list[str]
    lines: Annotated[list[str], operator.add]
    poem: str


model = ChatOpenAI(model="map_reduce_send", use_responses_api=False)


async def plan(state: Poem) -> dict:
    found = await model.with_structured_output(Subjects).ainvoke(f"Subjects: {state['topic']}")
    return {"subjects": found.subjects}


async def line(state: dict) -> dict:
    return {"lines": [(await model.ainvoke(f"A line on {state['subject']}")).text]}


async def combine(state: Poem) -> dict:
    return {"poem": (await model.ainvoke("Combine: " + " ".join(state["lines"]))).text}


builder = StateGraph(Poem)
builder.add_node(plan)
builder.add_node(line)
builder.add_node(combine)
builder.add_edge(START, "plan")
builder.add_conditional_edges(
    "plan", lambda state: [Send("line", {"subject": one}) for one in state["subjects"]], ["line"]
)
builder.add_edge("line", "combine")
graph = builder.compile()

AGENTS = ("plan", "line", "combine")
SHOWS = Example(
    family="Workflows",
    takes="topic",
    turns=[
        Turn("summer", "Sun and sea, both for me.", agents=AGENTS, by="combine"),
        Turn("winter", "Sun, sea, and then snow.", agents=AGENTS, by="combine"),
    ],
    model={
        "Subjects: summer": {"subjects": ["sun", "sea"]},
        "A line on sun": "The sun!",
        "A line on sea": "The sea!",
        "Combine: The sun! The sea!": "Sun and sea, both for me.",
        "Subjects: winter": {"subjects": ["snow"]},
        "A line on snow": "The snow!",
        "Combine: The sun! The sea! The snow!": "Sun, sea, and then snow.",
    },
)
