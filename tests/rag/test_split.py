"""Splitting: nothing is lost, every chunk knows where it stands, tables stay readable."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.rag.ingest import SAMPLE
from antiphon.rag.split import CHUNK, read_document, split
from antiphon.rag.types import Chunk, Document

WORD = st.text(alphabet="abcxyzäß0,.", min_size=1, max_size=9)
LINE = st.lists(WORD, min_size=1, max_size=40).map(" ".join)
TITLE = st.lists(st.text(alphabet="ABCxyz", min_size=1, max_size=6), min_size=1, max_size=3).map(
    " ".join
)
HEADING = st.tuples(st.integers(1, 6), TITLE)
PARAGRAPH = st.lists(LINE, min_size=1, max_size=5)
TABLE = st.lists(st.tuples(WORD, LINE), min_size=1, max_size=30).map(
    lambda rows: ["| Key | Value |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows)]
)
CODE = st.lists(st.one_of(LINE, TITLE.map(lambda title: f"# {title}")), max_size=5).map(
    lambda x: ["```", *x, "```"]
)
SECTION = st.tuples(HEADING, st.lists(st.one_of(PARAGRAPH, TABLE, CODE), max_size=4))


def document(text: str, title: str = "Handbook") -> Document:
    return Document(uri="handbook.md", title=title, text=text)


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def is_within(wanted: list[str], found: list[str]) -> bool:
    """Whether all that is wanted stands in what was found, in its order; more may stand between."""
    remaining = iter(found)
    return all(line in remaining for line in wanted)


def pieces_of(chunks: list[Chunk]) -> list[str]:
    return [line for chunk in chunks for line in lines(chunk.text)]


# -- nothing is lost -------------------------------------------------------------------------------


@given(st.lists(SECTION, max_size=6))
def test_every_line_comes_back_once_in_order_below_its_headings(sections):
    text: list[str] = []
    expected: list[tuple[str, str]] = []
    path: list[tuple[int, str]] = []
    done: list[str] = []
    for (level, title), blocks in sections:
        path = [above for above in path if above[0] < level] + [(level, title)]
        text += [f"{'#' * level} {title}", "", *("\n".join(block) + "\n" for block in blocks)]
        titles = [name for _, name in path]
        place = " › ".join(titles if titles[0] == "Handbook" else ["Handbook", *titles])
        below = sections[len(done) + 1 :][:1]
        done.append(title)
        alone = not blocks and not (
            below and below[0][0][0] > level
        )  # then the heading is the text
        expected += (
            [(place, title)] if alone else [(place, line) for block in blocks for line in block]
        )
    chunks = split(document("\n".join(text)))
    found = [(chunk.heading, line) for chunk in chunks for line in lines(chunk.text)]
    repeated = ("| Key | Value |", "|---|---|")
    assert is_within(expected, found)
    assert [one for one in found if one[1] not in repeated] == [
        one for one in expected if one[1] not in repeated
    ]


@given(st.text())
def test_any_text_comes_back_but_for_white_space_and_headings(text):
    wanted = [line for line in lines(text) if not line.startswith("#")]
    assert is_within(wanted, pieces_of(split(document(text))))


@given(st.text())
def test_chunks_are_numbered_and_carry_their_documents_name_and_label(text):
    chunks = split(Document(uri="u", title="t", text=text, access="internal"))
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert {(chunk.document, chunk.access) for chunk in chunks} <= {("u", "internal")}
    assert all(chunk.text.strip() for chunk in chunks)


@pytest.mark.parametrize("file", sorted(SAMPLE.iterdir()), ids=lambda file: file.name)
def test_the_sample_is_split_without_loss(file):
    read = read_document(file.name, file.read_text(encoding="utf-8"))
    wanted = [line for line in lines(read.text) if not line.startswith("#")]
    chunks = split(read)
    assert is_within(wanted, pieces_of(chunks))
    assert len(pieces_of(chunks)) < len(wanted) * 1.5


# -- headings --------------------------------------------------------------------------------------


def test_a_chunk_names_the_headings_above_it():
    text = "# Car\nintro\n## Engine\n### Oil\nfilter\n## Brakes\npads\n"
    assert [(chunk.heading, chunk.text) for chunk in split(document(text, title="Car"))] == [
        ("Car", "intro"),
        ("Car › Engine › Oil", "filter"),
        ("Car › Brakes", "pads"),
    ]


def test_a_title_that_is_no_heading_comes_first():
    (chunk,) = split(document("## Oil\nfilter"))
    assert chunk.heading == "Handbook › Oil"


def test_text_before_all_headings_stands_below_the_title():
    assert [chunk.heading for chunk in split(document("intro\n# Oil\nfilter"))] == [
        "Handbook",
        "Handbook › Oil",
    ]


def test_hashes_in_code_and_hashtags_are_no_headings():
    (chunk,) = split(document("# Oil\n```sh\n# comment\n```\n#hashtag", title="Oil"))
    assert chunk.text == "```sh\n# comment\n```\n#hashtag"


def test_a_hash_at_the_end_of_a_word_belongs_to_the_heading():
    (chunk,) = split(document("# Writing C#\ntext"))
    assert chunk.heading == "Handbook › Writing C#"


def test_hashes_in_code_between_tildes_are_no_headings():
    assert [chunk.heading for chunk in split(document("# Oil\n~~~\n# comment\n~~~"))] == [
        "Handbook › Oil"
    ]


def test_a_heading_without_text_is_not_lost():
    assert any(
        "Open from 8 to 17" in chunk.heading
        for chunk in split(document("intro\n## Open from 8 to 17"))
    )


# -- sizes -----------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 900), min_size=1, max_size=20))
def test_paragraphs_fill_chunks_without_being_cut(sizes):
    paragraphs = [chr(ord("a") + position) * size for position, size in enumerate(sizes)]
    chunks = split(document("\n\n".join(paragraphs)))
    assert [part for chunk in chunks for part in chunk.text.split("\n\n")] == paragraphs
    assert all(len(chunk.text) <= CHUNK + 2 for chunk in chunks)
    for chunk, following in pairwise(chunks):
        assert len(chunk.text) + len(following.text.split("\n\n")[0]) > CHUNK


def test_a_paragraph_longer_than_a_chunk_stays_whole():
    long = " ".join(["word"] * CHUNK)
    assert [chunk.text for chunk in split(document(f"before\n\n{long}\n\nafter"))] == [
        "before",
        long,
        "after",
    ]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60))
def test_every_part_of_a_long_table_begins_with_its_header(sizes):
    rows = [f"| {position} | {'x' * size} |" for position, size in enumerate(sizes)]
    header = ["| Code | Meaning of the code |", "|---|---|"]
    chunks = split(document("\n".join(header + rows)))
    parts = [chunk.text.split("\n") for chunk in chunks]
    assert all(part[:2] == header and len(part) > 2 for part in parts)
    assert [row for part in parts for row in part[2:]] == rows


def test_a_table_of_short_rows_keeps_to_the_size_of_a_chunk():
    chunks = split(document("\n".join(["|a|b|", "|-|-|"] + ["|1|2|"] * 1000)))
    assert max(len(chunk.text) for chunk in chunks) <= CHUNK


# -- front matter ----------------------------------------------------------------------------------


def test_front_matter_gives_title_and_access_and_is_no_text():
    read = read_document(
        "a.md", '---\ntitle: "Fault codes"\naccess: internal\n---\n# Codes\ntext\n'
    )
    assert read == Document(
        uri="a.md", title="Fault codes", access="internal", text="# Codes\ntext\n"
    )


def test_without_front_matter_the_first_heading_is_the_title_and_everybody_may_read():
    read = read_document("a.md", "intro\n\n## Codes ##\ntext")
    assert (read.title, read.access) == ("Codes", "public")


def test_without_any_heading_the_uri_is_the_title():
    assert read_document("a.txt", "just text").title == "a.txt"


def test_windows_line_ends_make_no_difference():
    text = "---\naccess: internal\n---\n# Codes\n\ntext\n"
    assert read_document("a.md", text.replace("\n", "\r\n")) == read_document("a.md", text)


def test_values_may_hold_colons():
    assert read_document("a.md", "---\ntitle: Oil: which one\n---\n").title == "Oil: which one"


def test_a_rule_inside_the_text_is_no_front_matter():
    read = read_document("a.md", "text\n\n---\naccess: internal\n---\nmore")
    assert (read.access, re.findall("more|access", read.text)) == ("public", ["access", "more"])


@pytest.mark.parametrize(
    "text",
    [
        "--- \naccess: internal\n---\nsecret",
        "---\naccess: internal\n---\t\nsecret",
        "---\naccess: internal\n---",
    ],
)
def test_careless_front_matter_does_not_publish_a_document(text):
    assert read_document("a.md", text).access == "internal"


@pytest.mark.parametrize(
    "text",
    [
        "---\naccess: internal\ntags:\n- brakes\n---\nsecret",
        "---\nlast change: today\naccess: internal\n---\nsecret",
        "---\nAccess: internal\n---\nsecret",
        "\n---\naccess: internal\n---\nsecret",
    ],
    ids=["list", "two words", "capital", "blank line"],
)
def test_unusual_front_matter_does_not_publish_a_document(text):
    assert read_document("a.md", text).access == "internal"


def test_text_between_two_rules_is_not_dropped():
    assert "Welcome" in read_document("a.md", "---\n\nWelcome to the workshop\n\n---\nmore").text


def test_a_comment_in_code_is_not_the_title():
    assert read_document("a.md", "```\n# comment\n```\n# Codes\ntext").title == "Codes"
