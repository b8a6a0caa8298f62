"""A model call tagged `nostream` is never shown, whatever the graph does with its text."""

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="tagged_nostream", use_responses_api=False)
silent = model.with_config(tags=["nostream"])


def answer(state: MessagesState) -> dict:
    mood = silent.invoke([("system", "Which mood?"), state["messages"][-1]])
    asked = [("system", f"The user is {mood.text}."), *state["messages"]]
    return {"messages": [model.invoke(asked)]}


builder = StateGraph(MessagesState)
builder.add_node(answer)
builder.add_edge(START, "answer")
graph = builder.compile()

SHOWS = Example(
    family="Streams of one's own",
    again=1,
    turns=[
        Turn("It rains!", "It will stop soon.", agents=["answer"], by="answer"),
        Turn("The sun!", "Enjoy it.", agents=["answer"], by="answer"),
    ],
    model={
        "Which mood?\nuser: It rains!": "sad",
        "The user is sad. ... user: It rains!": "It will stop soon.",
        "Which mood?\nuser: The sun!": "glad",
        "The user is glad. ... user: The sun!": "Enjoy it.",
    },
)
