"""A chain of prompts, each with a key of the state for its text; the last one's text is the
answer.
"""

from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn


class Story(TypedDict, total=False):
    topic: str
    outline: str
    draft: str
    story: str


model = ChatOpenAI(model="prompt_chain", use_responses_api=False)


def outline(state: Story) -> dict:
    return {"outline": model.invoke(f"Outline {state['topic']}").text}


def draft(state: Story) -> dict:
    return {"draft": model.invoke(f"Draft {state['outline']}").text}


def polish(state: Story) -> dict:
    return {"story": model.invoke(f"Polish {state['draft']}").text}


builder = StateGraph(Story).add_sequence([outline, draft, polish])
builder.add_edge(START, "outline")
graph = builder.compile()

AGENTS = ("outline", "draft", "polish")
SHOWS = Example(
    family="Workflows",
    takes="topic",
    turns=[
        Turn("a fox", "The fox, red and quick, was gone.", agents=AGENTS, by="polish"),
        Turn("a hen", "The hen stayed.", agents=AGENTS, by="polish"),
    ],
    model={
        "Outline a fox": "Fox comes. Fox goes.",
        "Draft Fox comes. Fox goes.": "A fox came and went.",
        "Polish A fox came and went.": "The fox, red and quick, was gone.",
        "Outline a hen": "Hen.",
        "Draft Hen.": "A hen.",
        "Polish A hen.": "The hen stayed.",
    },
)
