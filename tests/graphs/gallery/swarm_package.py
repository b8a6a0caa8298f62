"""`langgraph-swarm`: agents hand over to each other, and the last one goes on in the next turn."""

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph_swarm import create_handoff_tool, create_swarm

from tests.graphs.example import Example, Turn, call

model = ChatOpenAI(model="swarm_package", use_responses_api=False)
alice = create_agent(
    model, [create_handoff_tool(agent_name="Bob")], system_prompt="You are Alice.", name="Alice"
)
bob = create_agent(
    model, [create_handoff_tool(agent_name="Alice")], system_prompt="You are Bob.", name="Bob"
)
graph = create_swarm([alice, bob], default_active_agent="Alice").compile()

SHOWS = Example(
    family="Many agents",
    turns=[
        Turn("I want to speak to Bob.", "Ahoy, Bob here.", agents=["Alice", "Bob"], by="Bob"),
        Turn("Who are you?", "Still Bob.", agents=["Bob"], by="Bob"),
        Turn("Alice, please.", "Alice again.", agents=["Bob", "Alice"], by="Alice"),
    ],
    model={
        "Alice. ... user: I want to speak to Bob.": call("transfer_to_bob"),
        "Bob. ... tool: Successfully transferred to Bob": "Ahoy, Bob here.",
        "Bob. ... user: Who are you?": "Still Bob.",
        "Bob. ... user: Alice, please.": call("transfer_to_alice"),
        "Alice. ... tool: Successfully transferred to Alice": "Alice again.",
    },
)
