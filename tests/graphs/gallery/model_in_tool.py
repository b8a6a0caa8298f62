"""A tool that asks a model of its own. Its words are a tool's result, never the answer."""

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.graphs.example import Example, Turn, call

model = ChatOpenAI(model="model_in_tool", use_responses_api=False)


@tool
async def translate(text: str) -> str:
    """Translate a text into German."""
    reply = await model.ainvoke([("system", "Translate into German."), ("user", text)])
    return str(reply.text)


graph = create_agent(model, [translate], system_prompt="You teach.", name="teacher")

SHOWS = Example(
    family="ReAct",
    turns=[
        Turn("Cat in German?", "They say: Katze.", agents=["teacher"], by="teacher"),
        Turn("And dog?", "They say: Hund.", agents=["teacher"], by="teacher"),
    ],
    model={
        "system: Translate into German.\nuser: cat": "Katze",
        "system: Translate into German.\nuser: dog": "Hund",
        "user: Cat in German?": call("translate", text="cat"),
        "tool: Katze": "They say: Katze.",
        "user: And dog?": call("translate", text="dog"),
        "tool: Hund": "They say: Hund.",
    },
)
