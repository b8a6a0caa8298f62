"""What the graph knows."""

from collections.abc import Sequence
from typing import Annotated

from langchain_core.messages import BaseMessage
from langgraph.graph import add_messages
from typing_extensions import TypedDict


class AgentState(TypedDict):
    """The conversation."""

    messages: Annotated[Sequence[BaseMessage], add_messages]
