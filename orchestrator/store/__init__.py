"""LangGraph's store, which keeps items across threads, on the event log's own database."""

from antiphon.orchestrator.store.graph_store import GraphStore, open_graph_store
from antiphon.orchestrator.store.index import check_config

__all__ = ["GraphStore", "check_config", "open_graph_store"]
