"""What a run's events add up to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentError,
    AgentStart,
    AnyEvent,
    Hit,
    Interrupt,
    InterruptAnswered,
    Progress,
    RunAttempt,
    Sources,
    Superseded,
    ToolOrder,
    Usage,
)
from antiphon.orchestrator.recording.view import RECOVERED, RunView
from tests.orchestrator.support import UNHURRIED


def view_of(*events: AnyEvent) -> RunView:
    """The view of events numbered from 1."""
    view = RunView()
    for seq, event in enumerate(events, 1):
        view.see(event, seq)
    return view


def start(span: str, agent: str = "a") -> AgentStart:
    return AgentStart(span=span, agent=agent)


def chunk(span: str, text: str, channel: str = "answer") -> AgentChunk:
    return AgentChunk(span=span, agent="a", text=text, channel=channel)  # type: ignore[arg-type]


def complete(span: str, **given: object) -> AgentComplete:
    return AgentComplete(span=span, agent="a", text="", **given)  # type: ignore[arg-type]


def attempt(number: int, reason: str, *spans: str) -> RunAttempt:
    return RunAttempt(
        attempt=number,
        reason=reason,
        supersedes=Superseded(after=0, agents=["a"], spans=list(spans)),
    )


def test_the_answer_is_what_stands_on_the_answer_channel() -> None:
    view = view_of(
        chunk("1", "a "),
        chunk("2", "draft", "draft"),
        chunk("1", "hm", "reasoning"),
        chunk("3", "c"),
        chunk("1", "b "),
    )
    assert view.answer == "a b \n\nc"


def test_superseded_text_is_gone_and_what_is_said_anew_counts() -> None:
    view = view_of(
        chunk("1", "half"),
        chunk("2", "stays "),
        attempt(1, "model_retry", "1"),
        chunk("1", "whole"),
    )
    assert view.answer == "stays \n\nwhole"


def test_progress_and_attempts_only_grow() -> None:
    values = [Progress(value=value, stage="generating", message="") for value in (0.2, 0.6, 0.4)]
    view = view_of(*values, attempt(3, RECOVERED), attempt(2, RECOVERED))
    assert (view.progress, view.attempt) == (0.6, 3)


def test_what_is_open_is_unfinished() -> None:
    view = view_of(start("1"), start("2", "b"), start("3", "c"), complete("1"))
    assert view.unfinished() == Superseded(after=1, agents=["b", "c"], spans=["2", "3"])
    assert view.order == ["a", "b", "c"]


def test_nothing_open_supersedes_nothing() -> None:
    failed = AgentError(span="1", agent="a", code="X", message="", recoverable=True)
    assert view_of(start("1"), failed).unfinished() == Superseded(after=0, agents=[], spans=[])


def test_a_recovery_closes_what_it_supersedes_but_a_retry_leaves_it_open() -> None:
    assert view_of(start("1"), attempt(2, RECOVERED, "1")).unfinished().spans == []
    assert view_of(start("1"), attempt(1, "model_retry", "1")).unfinished().spans == ["1"]


def test_usage_is_summed_over_agents() -> None:
    usage = Usage(input_tokens=1, output_tokens=2, total_tokens=3)
    assert (
        view_of(complete("1", usage=usage), complete("2"), complete("3", usage=usage)).usage
        == usage + usage
    )


def answered(id_: str = "q1", **given: object) -> InterruptAnswered:
    return InterruptAnswered(id=id_, answer="yes", by="me", **given)  # type: ignore[arg-type]


def test_the_graph_is_given_the_last_answers_and_no_earlier_ones() -> None:
    asked = Interrupt(id="q1", question="?")
    assert view_of(asked).resume is None
    assert view_of(asked, answered(resume={"q1": False})).resume == {"q1": False}
    again = [Interrupt(id="q2", question="?"), answered("q2", resume={"q2": 1})]
    assert view_of(asked, answered(resume={"q1": "yes"}), *again).resume == {"q2": 1}


def test_a_question_is_open_until_it_is_answered() -> None:
    asked = Interrupt(id="q1", question="?")
    assert (view_of(asked).waiting, view_of(asked).asked) == (True, asked)
    assert not view_of(asked, answered(resume={"q1": 1})).waiting


def test_a_breakpoint_is_passed_by_a_yes_and_ends_the_run_by_a_no() -> None:
    stop = Interrupt(id="c1", question="?", reason="breakpoint")
    passed, stopped = view_of(stop, answered("c1")), view_of(stop, answered("c1", stops=True))
    assert (passed.passed, passed.stopped) == ({"c1"}, False)
    assert stopped.stopped
    assert view_of(Interrupt(id="q1", question="?"), answered(resume={"q1": 1})).passed == set()


def test_the_order_of_tool_calls_is_the_last_one_of_each_task() -> None:
    orders = [
        ToolOrder(task=task, asked=list(calls))
        for task, calls in (("t", "a"), ("u", "c"), ("t", "ab"))
    ]
    view = view_of(*orders)
    assert {task: order.asked for task, order in view.tool_order.items()} == {
        "t": ["a", "b"],
        "u": ["c"],
    }


def test_a_text_that_no_agent_said_is_the_outermost_agents_that_began_last() -> None:
    assert RunView().author_of("hi") == "graph"
    inner = AgentStart(span="3", agent="inner", parent="2")
    view = view_of(start("1", "first"), start("2", "outer"), inner, chunk("3", "said"))
    assert (view.author_of("hi"), view.author_of("said")) == ("outer", "a")


def test_cited_are_the_documents_that_the_text_names_in_its_order() -> None:
    hits = [Hit(id=f"{uri}#{n}", title=uri, uri=f"{uri}.md") for uri in "abc" for n in (0, 1)]
    view = view_of(Sources(query="?", hits=hits), Sources(query="!", hits=[Hit(id="d", title="d")]))
    assert [hit.id for hit in view.cited("first [c.md], then [a.md] and [c.md], not b.md")] == [
        "c#0",
        "a#0",
    ]


events = st.one_of(
    st.builds(start, st.sampled_from("123")),
    st.builds(
        chunk, st.sampled_from("123"), st.text(max_size=3), st.sampled_from(["answer", "draft"])
    ),
    st.builds(complete, st.sampled_from("123")),
    st.builds(
        attempt,
        st.integers(1, 3),
        st.sampled_from([RECOVERED, "node_retry"]),
        st.sampled_from("123"),
    ),
)


@UNHURRIED
@given(st.lists(events), st.integers(min_value=0))
def test_the_view_does_not_depend_on_how_texts_are_cut(log: list[AnyEvent], at: int) -> None:
    cut: list[AnyEvent] = []
    for event in log:
        if isinstance(event, AgentChunk) and event.text:
            middle = at % (len(event.text) + 1)
            cut += [
                chunk(event.span, part, event.channel)
                for part in (event.text[:middle], event.text[middle:])
            ]
        else:
            cut.append(event)
    assert view_of(*cut).answer == view_of(*log).answer
