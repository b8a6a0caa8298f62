"""`runtime.stream_writer` in a node and in a tool."""

from langchain.agents import create_agent
from langchain.tools import ToolRuntime
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime

from tests.graphs.example import Example, Turn, call


@tool
def measure(what: str, runtime: ToolRuntime) -> str:
    """Measure something."""
    runtime.stream_writer({"type": "measured", "what": what})
    return f"{what}: 3 cm"


model = ChatOpenAI(model="writes_with_runtime", use_responses_api=False)
measurer = create_agent(model, [measure], name="measurer")


def greet(state: MessagesState, runtime: Runtime) -> None:
    runtime.stream_writer({"type": "greeted"})


builder = StateGraph(MessagesState)
builder.add_node(greet)
builder.add_node("measurer", measurer)
builder.add_edge(START, "greet")
builder.add_edge("greet", "measurer")
graph = builder.compile()

SHOWS = Example(
    family="Streams of one's own",
    turns=[
        Turn(
            "How long is a pin?",
            "Three centimetres.",
            agents=["greet", "measurer"],
            by="measurer",
            custom=["greeted", "measured"],
        ),
        Turn("Thanks.", "Any time.", agents=["greet", "measurer"], custom=["greeted"]),
    ],
    model={
        "user: How long is a pin?": call("measure", what="pin"),
        "tool: pin: 3 cm": "Three centimetres.",
        "user: Thanks.": "Any time.",
    },
)
