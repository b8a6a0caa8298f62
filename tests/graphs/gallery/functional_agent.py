"""An agent in the functional API: a loop over model and tools, on messages that it keeps itself."""

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.func import entrypoint, task
from langgraph.graph import add_messages

from tests.graphs.example import Example, Turn, call


@tool
def double(number: int) -> int:
    """Double a number."""
    return number * 2


model = ChatOpenAI(model="functional_agent", use_responses_api=False).bind_tools([double])


@task
async def call_model(messages: list[BaseMessage]) -> AIMessage:
    return await model.ainvoke(messages)


@task
async def call_tool(tool_call: dict) -> ToolMessage:
    return await double.ainvoke(tool_call)


@entrypoint()
async def graph(
    messages: list[BaseMessage], *, previous: list[BaseMessage] | None = None
) -> entrypoint.final[AIMessage, list]:
    messages = add_messages(previous or [], messages)
    while (reply := await call_model(messages)).tool_calls:
        results = [await call_tool(one) for one in reply.tool_calls]
        messages = add_messages(messages, [reply, *results])
    return entrypoint.final(value=reply, save=add_messages(messages, [reply]))


SHOWS = Example(
    family="Functional API",
    takes=lambda says: [HumanMessage(says)],
    turns=[
        Turn("Double 4.", "It is 8.", agents=["graph", "call_model", "call_tool"]),
        Turn("Again.", "16 now.", agents=["graph", "call_model", "call_tool"]),
    ],
    model={
        "user: Double 4.": call("double", number=4),
        "tool: 8": "It is 8.",
        "tool: 8 ... user: Again.": call("double", number=8),
        "tool: 8 ... tool: 16": "16 now.",
    },
)
