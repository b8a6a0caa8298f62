"""A loop of many steps with the graph's own `recursion_limit`."""

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn

ROUNDS = 100


class Rounds(MessagesState):
    rounds: int


def turn(state: Rounds) -> dict:
    return {"rounds": state.get("rounds", 0) + 1}


def say(state: Rounds) -> dict:
    return {"messages": [AIMessage(f"{state['rounds']} rounds.")]}


builder = StateGraph(Rounds)
builder.add_node(turn)
builder.add_node(say)
builder.add_edge(START, "turn")
builder.add_conditional_edges(
    "turn", lambda state: "turn" if state["rounds"] % ROUNDS else "say", ["turn", "say"]
)
builder.add_edge("say", END)
graph = builder.compile().with_config(recursion_limit=ROUNDS + 5)

SHOWS = Example(
    family="State",
    turns=[
        Turn("Go", "100 rounds.", agents=["turn", "say"], by="say"),
        Turn("Go on", "200 rounds.", agents=["turn", "say"], by="say"),
    ],
)
