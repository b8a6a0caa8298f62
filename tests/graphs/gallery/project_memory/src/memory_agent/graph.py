"""The agent's graph."""

from langchain_core.messages import ToolMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore

from memory_agent import context


async def upsert_memory(content: str, key: str, *, store: BaseStore, user_id: str) -> str:
    """Keep a memory."""
    await store.aput(("memories", user_id), key=key, value={"content": content})
    return f"stored {key}"


UPSERT = {
    "name": "upsert_memory",
    "description": "Keep a memory.",
    "parameters": {
        "type": "object",
        "properties": {"content": {"type": "string"}, "key": {"type": "string"}},
        "required": ["content", "key"],
    },
}


async def call_model(state: MessagesState, runtime: Runtime[context.Context]) -> dict:
    """Ask the model, with what is remembered."""
    user_id = runtime.context.user_id
    found = await runtime.store.asearch(("memories", user_id), limit=context.LIMIT)
    memories = ", ".join(item.value["content"] for item in found)
    model = ChatOpenAI(model=runtime.context.model, use_responses_api=False).bind_tools([UPSERT])
    asked = [("system", f"Memories: {memories}"), *state["messages"]]
    return {"messages": [await model.ainvoke(asked)]}


async def store_memory(state: MessagesState, runtime: Runtime[context.Context]) -> dict:
    """Keep what the model wants to have kept."""
    user_id = runtime.context.user_id
    done = [
        ToolMessage(
            await upsert_memory(**call["args"], store=runtime.store, user_id=user_id),
            tool_call_id=call["id"],
        )
        for call in state["messages"][-1].tool_calls
    ]
    return {"messages": done}


def route_message(state: MessagesState) -> str:
    """Store first if the model asks for it."""
    return "store_memory" if state["messages"][-1].tool_calls else END


builder = StateGraph(MessagesState, context_schema=context.Context)
builder.add_node(call_model)
builder.add_node(store_memory)
builder.add_edge(START, "call_model")
builder.add_conditional_edges("call_model", route_message, ["store_memory", END])
builder.add_edge("store_memory", "call_model")
graph = builder.compile()
