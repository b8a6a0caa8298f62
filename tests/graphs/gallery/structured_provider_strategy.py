"""`response_format=ProviderStrategy(...)`: the provider's own JSON mode; the answer is that
JSON.
"""

from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.graphs.example import Example, Turn


class Contact(BaseModel):
    """A person to write to."""

    name: str
    mail: str


graph = create_agent(
    ChatOpenAI(model="structured_provider_strategy", use_responses_api=False),
    [],
    response_format=ProviderStrategy(Contact),
    name="secretary",
)

ADA = {"name": "Ada", "mail": "ada@example.org"}
BOB = {"name": "Bob", "mail": "bob@example.org"}
SHOWS = Example(
    family="Structured output",
    turns=[
        Turn("Write to Ada", ADA, agents=["secretary"], by="secretary"),
        Turn("And to Bob", BOB, agents=["secretary"], by="secretary"),
    ],
    model={"user: Write to Ada": ADA, "user: And to Bob": BOB},
)
