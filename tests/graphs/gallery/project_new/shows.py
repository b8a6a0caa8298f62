"""What a new project looks like: one node, one text in its state, a `context_schema`,
`package.module:graph`.
"""

from tests.graphs.example import Example, Turn

SHOWS = Example(
    family="Shapes of projects",
    module="agent.graph",
    takes="changeme",
    turns=[
        Turn("hello", "HELLO, set up with nothing.", agents=["call_model"], by="call_model"),
        Turn("again", "AGAIN, set up with nothing.", agents=["call_model"], by="call_model"),
        Turn(
            "once more",
            "ONCE MORE, set up with blue.",
            agents=["call_model"],
            request={"context": {"my_configurable_param": "blue"}},
        ),
    ],
)
