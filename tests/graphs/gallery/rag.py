"""Retrieval before the answer: documents are found, graded, and quoted."""

from langchain_core.documents import Document
from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn

SHELF = [Document("Tea is made of leaves."), Document("Milk is made by cows.")]


class Search(TypedDict, total=False):
    question: str
    documents: list[Document]
    generation: str


model = ChatOpenAI(model="rag", use_responses_api=False)


def retrieve(state: Search) -> dict:
    words = set(state["question"].lower().strip("?").split())
    found = [one for one in SHELF if words & set(one.page_content.lower().split())]
    return {"documents": found}


async def grade(state: Search) -> dict:
    kept = []
    for document in state["documents"]:
        verdict = await model.ainvoke(f"Relevant? {state['question']} {document.page_content}")
        if verdict.text == "yes":
            kept.append(document)
    return {"documents": kept}


async def generate(state: Search) -> dict:
    context = " ".join(document.page_content for document in state["documents"])
    reply = await model.ainvoke([("system", f"Use: {context}"), ("user", state["question"])])
    return {"generation": reply.text}


builder = StateGraph(Search).add_sequence([retrieve, grade, generate])
builder.add_edge(START, "retrieve")
graph = builder.compile()

AGENTS = ("retrieve", "grade", "generate")
SHOWS = Example(
    family="Workflows",
    takes="question",
    turns=[
        Turn("What is tea?", "Leaves, in short.", agents=AGENTS, by="generate"),
        Turn("Who makes milk?", "Cows do.", agents=AGENTS, by="generate"),
    ],
    model={
        "Relevant? What is tea? Tea is made of leaves.": "yes",
        "Relevant? What is tea? Milk is made by cows.": "no",
        "Use: Tea is made of leaves.\nuser: What is tea?": "Leaves, in short.",
        "Relevant? Who makes milk? Milk is made by cows.": "yes",
        "Use: Milk is made by cows.\nuser: Who makes milk?": "Cows do.",
    },
)
