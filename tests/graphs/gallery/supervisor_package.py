"""`langgraph-supervisor`: the workers' texts are material, the supervisor's last words the
answer.
"""

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph_supervisor import create_supervisor

from tests.graphs.example import Example, Turn, call


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


model = ChatOpenAI(model="supervisor_package", use_responses_api=False)
maths = create_agent(model, [multiply], system_prompt="You do maths.", name="maths")
poet = create_agent(model, [], system_prompt="You rhyme.", name="poet")
graph = create_supervisor([maths, poet], model=model, prompt="You supervise.").compile()

SHOWS = Example(
    family="Many agents",
    turns=[
        Turn(
            "What is 6 x 7?",
            "The maths agent says it is 42.",
            agents=["supervisor", "agent", "tools", "maths"],
        ),
        Turn(
            "Make a rhyme on it.",
            "Here is the rhyme: forty-two, that is true.",
            agents=["supervisor", "agent", "tools", "poet"],
        ),
    ],
    model={
        "supervise. ... user: What is 6 x 7?": call("transfer_to_maths"),
        "You do maths. ... tool: Successfully transferred to maths": call("multiply", a=6, b=7),
        "You do maths. ... tool: 42": "6 x 7 = 42",
        "supervise. ... Forty-two, that is true. ... transferred back to supervisor": (
            "Here is the rhyme: forty-two, that is true."
        ),
        "supervise. ... 42 ... transferred back to supervisor": "The maths agent says it is 42.",
        "supervise. ... user: Make a rhyme on it.": call("transfer_to_poet"),
        "You rhyme. ... tool: Successfully transferred to poet": "Forty-two, that is true.",
    },
)
