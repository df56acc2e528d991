"""How a message waits in the outbox: what it says and where it goes, as JSON, so that a restart sends the same one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Protocol

from handlers.telegram.messenger import Button, Letter
from storage.models.job import Discard, Done, Draft, Mail
from storage.models.payment import Place


@dataclass(frozen=True)
class Post:
    """One message to be sent (`edits` is None) or to be shown instead of the message `edits`.

    With a `shop` it is said only where that shop may still be spoken of by then. What is said in `passing` is nobody's
    trouble if it cannot be said.
    """

    place: Place
    letter: Letter
    reply_to: int | None = None
    silent: bool = False
    edits: int | None = None
    shop: int | None = None
    passing: bool = False


class Maker(Protocol):
    """Makes the words of a kind of mail when it is sent, because they must not be kept."""

    async def letter(self, mail: Mail) -> Post | None:
        """The message; None if it is not wanted any more."""

    async def sent(self, mail: Mail) -> None:
        """It was sent."""

    async def closed(self, mail: Mail) -> None:
        """The chat it should go to does not let us in."""


def lane_of(chat_id: int) -> str:
    """Messages of one chat leave in the order they were put."""
    return str(chat_id)


def draft_of(post: Post, *, key: str) -> Draft:
    """The mail that keeps the message; the same `key` is sent once."""
    body = json.dumps(asdict(post), ensure_ascii=False, separators=(",", ":"))
    return Draft(key, lane_of(post.place.chat_id), "post", body.encode(errors="replace"))


def post_of(mail: Mail) -> Post:
    """The message that a mail keeps."""
    said = json.loads(mail.body)
    letter = said["letter"]
    keyboard = tuple(tuple(Button(**button) for button in row) for row in letter["keyboard"])
    return Post(
        Place(**said["place"]),
        Letter(letter["html"], keyboard),
        said["reply_to"],
        said["silent"],
        said["edits"],
        said.get("shop"),
        said.get("passing", False),
    )


def unsaid(mail: Mail, reason: str) -> Done | Discard:
    """What becomes of a message that Telegram refuses: no human has to see to an edit, or to a word in passing."""
    post = post_of(mail) if mail.kind == "post" else None
    may_be_lost = post is not None and (post.edits is not None or post.passing)
    return Done(f"not said: {reason}") if may_be_lost else Discard(reason)
