"""`SummarizationMiddleware`: old messages give way to a summary, which a model writes unseen."""

from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_openai import ChatOpenAI

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="middleware_summarization", use_responses_api=False)
short = SummarizationMiddleware(
    model,
    trigger=("messages", 3),
    keep=("messages", 1),
    summary_prompt="Sum up:\n{messages}\nIn one sentence.",
)
graph = create_agent(model, [], middleware=[short], name="friend")

SHOWS = Example(
    family="Middleware",
    turns=[
        Turn("I am Ada.", "Hello, Ada.", agents=["friend"], by="friend"),
        Turn("Who am I?", "You are Ada.", agents=["friend"], by="friend"),
        Turn("Am I?", "You are, I keep it short.", agents=["friend"], by="friend"),
    ],
    model={
        "user: I am Ada.": "Hello, Ada.",
        "Sum up: ... I am Ada. ... In one sentence.": "A user called Ada said hello.",
        "A user called Ada said hello.\nuser: Who am I?": "You are Ada.",
        "Sum up: ... You are Ada. ... In one sentence.": "Ada asked who she is.",
        "user: ... Ada asked who she is.\nuser: Am I?": "You are, I keep it short.",
    },
)
