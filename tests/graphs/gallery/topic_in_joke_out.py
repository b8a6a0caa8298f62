"""A state without `messages`: the message goes to its one text field, the text that is made is the
answer.
"""

from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn


class Topic(TypedDict):
    topic: str


class Joke(TypedDict):
    joke: str


class Whole(Topic, Joke):
    count: int


model = ChatOpenAI(model="topic_in_joke_out", use_responses_api=False)


async def write(state: Topic) -> dict:
    return {"joke": (await model.ainvoke(f"A joke on {state['topic']}")).text, "count": 1}


builder = StateGraph(Whole, input_schema=Topic, output_schema=Joke)
builder.add_node(write)
builder.add_edge(START, "write")
graph = builder.compile()

SHOWS = Example(
    family="State",
    takes="topic",
    turns=[
        Turn("cats", "Mew.", agents=["write"], by="write"),
        Turn("dogs", "Woof.", agents=["write"], by="write"),
    ],
    model={"A joke on cats": "Mew.", "A joke on dogs": "Woof."},
)
