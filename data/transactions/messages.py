"""Messages: a tree by `parent_id`, shown in the order of their `position`."""

from __future__ import annotations

import msgspec

from antiphon.data.records import Message, RunRecord
from antiphon.data.transactions.transaction import Transaction


def insert_message(tx: Transaction, message: Message) -> None:
    """Store a message as the newest of its thread, which the next one will follow."""
    tx.execute(  # first, as the lock of the thread's row keeps the positions without gaps
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
    """Return the empty reply to a message.

    It is stored with the message, so that a message that arrives before its text follows it.
    """
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
    """Store the text of a reply."""
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


def put_after_question(tx: Transaction, run: RunRecord, message: Message, reply_id: str) -> None:
    """Store an answer after a run's question, and after that the run's next, empty reply.

    Messages that wait for the run's end follow its last reply, and stay the thread's newest.
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
