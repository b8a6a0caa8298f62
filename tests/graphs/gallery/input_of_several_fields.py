"""An input of several fields: the message goes to the one that is the user's, `inputs` fill the
others.
"""

from typing import NotRequired

from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn


class Given(TypedDict):
    user_input: str
    style: NotRequired[str]
    words: NotRequired[int]


class Letter(TypedDict):
    letter: str


class Whole(Given, Letter):
    pass


model = ChatOpenAI(model="input_of_several_fields", use_responses_api=False)


async def write(state: Given) -> dict:
    style, words = state.get("style", "plain"), state.get("words", 5)
    reply = await model.ainvoke(f"{words} {style} words: {state['user_input']}")
    return {"letter": reply.text}


builder = StateGraph(Whole, input_schema=Given, output_schema=Letter)
builder.add_node(write)
builder.add_edge(START, "write")
graph = builder.compile()

SHOWS = Example(
    family="State",
    takes="user_input",
    turns=[
        Turn("to Bob", "Dear Bob, hello to you.", agents=["write"], by="write"),
        Turn(
            "to Eve",
            "Eve, my sun!",
            agents=["write"],
            by="write",
            request={"inputs": {"style": "sweet", "words": 3}},
        ),
    ],
    model={
        "5 plain words: to Bob": "Dear Bob, hello to you.",
        "3 sweet words: to Eve": "Eve, my sun!",
    },
)
