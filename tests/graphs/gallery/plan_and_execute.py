"""Plan and execute: a planner, an executor that speaks while it works, and a replanner.

The replanner's structured response is the answer; what the executor found is material.
"""

import operator
from typing import Annotated, Literal

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn, call


class Plan(BaseModel):
    """Steps to take, in order."""

    steps: list[str]


class Act(BaseModel):
    """Either more steps or a response to the user."""

    steps: list[str] = []
    response: str = ""


class PlanExecute(TypedDict, total=False):
    input: str
    plan: list[str]
    past_steps: Annotated[list[tuple[str, str]], operator.add]
    response: str


model = ChatOpenAI(model="plan_and_execute", use_responses_api=False)
executor = create_agent(model, [], system_prompt="You execute.", name="executor")


async def plan(state: PlanExecute) -> dict:
    made = await model.with_structured_output(Plan).ainvoke(f"Plan: {state['input']}")
    return {"plan": made.steps, "response": ""}


async def execute(state: PlanExecute) -> dict:
    step = state["plan"][0]
    done = await executor.ainvoke({"messages": [("user", step)]})
    return {"past_steps": [(step, done["messages"][-1].text)]}


async def replan(state: PlanExecute) -> dict:
    asked = f"Replan: {state['input']} Done: {state['past_steps'][-1][1]}"
    act = await model.with_structured_output(Act, method="function_calling").ainvoke(asked)
    return {"response": act.response} if act.response else {"plan": act.steps}


def after(state: PlanExecute) -> Literal["execute", "__end__"]:
    return END if state["response"] else "execute"


builder = StateGraph(PlanExecute)
builder.add_node(plan)
builder.add_node(execute)
builder.add_node(replan)
builder.add_edge(START, "plan")
builder.add_edge("plan", "execute")
builder.add_edge("execute", "replan")
builder.add_conditional_edges("replan", after)
graph = builder.compile()

AGENTS = ("plan", "execute", "executor", "replan")
SHOWS = Example(
    family="Workflows",
    takes="input",
    turns=[
        Turn("Whose tower?", "It is Eiffel's, says the book.", agents=AGENTS, by="replan"),
        Turn("Whose bridge?", "It is Roebling's.", agents=AGENTS, by="replan"),
    ],
    model={
        "user: Plan: Whose tower?": {"steps": ["Find a book.", "Read it."]},
        "execute.\nuser: Find a book.": "Here is a book.",
        "Whose tower? Done: Here is a book.": call("Act", steps=["Read it."]),
        "execute.\nuser: Read it.": "It says Eiffel.",
        "Done: It says Eiffel.": call("Act", response="It is Eiffel's, says the book."),
        "user: Plan: Whose bridge?": {"steps": ["Ask a friend."]},
        "execute.\nuser: Ask a friend.": "He says Roebling.",
        "Done: He says Roebling.": call("Act", response="It is Roebling's."),
    },
)
