"""Messages: a tree by `parent_id`, and one order by `position` in which a conversation is shown."""

from __future__ import annotations

import msgspec

from antiphon.data.records import Message, Run
from antiphon.data.transactions.transaction import Transaction


def insert_message(tx: Transaction, message: Message) -> None:
    """Store a message as the newest of its thread, and as what the next one follows."""
    tx.execute(  # first the thread's row, whose lock makes the positions dense
        "UPDATE threads SET head_message_id = :id, updated_at = :created_at WHERE id = :thread_id",
        id=message.id,
        created_at=message.created_at,
        thread_id=message.thread_id,
    )
    newest = tx.one(
        "SELECT MAX(position) FROM messages WHERE thread_id = :thread_id",
        thread_id=message.thread_id,
    )
    tx.insert("messages", message, position=((newest and newest[0]) or 0) + 1)


def place_for_reply(message: Message, reply_id: str) -> Message:
    """The reply's place in the tree, held from the beginning: a message that comes meanwhile follows it."""
    return msgspec.structs.replace(
        message,
        id=reply_id,
        role="assistant",
        content="",
        parent_id=message.id,
        author=None,
        partial=True,
    )


def store_reply(tx: Transaction, message: Message) -> None:
    """Fill the place of a reply."""
    tx.execute(
        "UPDATE messages SET content = :content, author = :author, partial = :partial,"
        " created_at = :created_at WHERE id = :id",
        content=message.content,
        author=message.author,
        partial=message.partial,
        created_at=message.created_at,
        id=message.id,
    )
    tx.execute(
        "UPDATE threads SET updated_at = :at WHERE id = :thread_id",
        at=message.created_at,
        thread_id=message.thread_id,
    )


def put_behind(tx: Transaction, run: Run, message: Message, reply_id: str) -> None:
    """Put an answer after the question, and the place of the next reply after that.

    Messages that wait for this run's end stand after its last reply, and stay the thread's newest.
    """
    head = tx.one("SELECT head_message_id FROM threads WHERE id = :id", id=run.thread_id)
    tx.execute(
        "UPDATE messages SET parent_id = :reply_id WHERE parent_id = :question_id",
        reply_id=reply_id,
        question_id=run.reply_message_id,
    )
    insert_message(tx, message)
    insert_message(tx, place_for_reply(message, reply_id))
    if head is not None and head[0] != run.reply_message_id:
        tx.execute(
            "UPDATE threads SET head_message_id = :head WHERE id = :id",
            head=head[0],
            id=run.thread_id,
        )
    tx.execute(
        "UPDATE runs SET reply_message_id = :reply_id WHERE id = :id", reply_id=reply_id, id=run.id
    )
