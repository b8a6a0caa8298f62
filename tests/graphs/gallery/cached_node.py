"""A node with a `CachePolicy`: a result from the cache makes no tokens, and is shown all the
same.
"""

from langchain_openai import ChatOpenAI
from langgraph.cache.memory import InMemoryCache
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn


class Question(TypedDict, total=False):
    question: str
    answer: str


model = ChatOpenAI(model="cached_node", use_responses_api=False)


def about(state: Question) -> str:
    return state["question"]


async def answer(state: Question) -> dict:
    return {"answer": (await model.ainvoke(state["question"])).text}


builder = StateGraph(Question)
builder.add_node(answer, cache_policy=CachePolicy(key_func=about))
builder.add_edge(START, "answer")
graph = builder.compile(cache=InMemoryCache())

SHOWS = Example(
    family="State",
    takes="question",
    turns=[
        Turn("What is tea?", "A leaf in water."),
        Turn("What is tea?", "A leaf in water."),
    ],
    model={"What is tea?": "A leaf in water."},
)
