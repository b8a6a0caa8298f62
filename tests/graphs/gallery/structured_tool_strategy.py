"""`response_format=ToolStrategy(...)`: the answer is the structured response, as JSON."""

from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.graphs.example import Example, Turn, call


class Report(BaseModel):
    """The weather of a city."""

    city: str
    degrees: int


@tool
def thermometer(city: str) -> int:
    """Degrees in a city."""
    return {"Paris": 21, "Rome": 27}[city]


graph = create_agent(
    ChatOpenAI(model="structured_tool_strategy", use_responses_api=False),
    [thermometer],
    response_format=ToolStrategy(Report),
    name="reporter",
)

SHOWS = Example(
    family="Structured output",
    turns=[
        Turn("Paris?", {"city": "Paris", "degrees": 21}, agents=["reporter"], by="reporter"),
        Turn("Rome?", {"city": "Rome", "degrees": 27}, agents=["reporter"], by="reporter"),
    ],
    model={
        "user: Paris?": call("thermometer", city="Paris"),
        "tool: 21": call("Report", city="Paris", degrees=21),
        "user: Rome?": call("thermometer", city="Rome"),
        "tool: 27": call("Report", city="Rome", degrees=27),
    },
)
