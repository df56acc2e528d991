"""The job of an update: key, ordering key, kind and payload."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.telegram.update_jobs import update_job


@pytest.mark.parametrize(
    ("content", "ordering_key"),
    [
        ({"message": {"chat": {"id": -5}, "from": {"id": 9}}}, "-5"),
        ({"message": {"chat": {"id": -5}, "migrate_to_chat_id": -1005}}, "-5"),
        ({"callback_query": {"id": "1", "from": {"id": 9}, "message": {"chat": {"id": -5}}}}, "-5"),
        ({"callback_query": {"id": "1", "from": {"id": 9}, "inline_message_id": "x"}}, "9"),
        ({"callback_query": {"id": "1", "from": {"id": 9}, "message": None}}, "9"),
        ({"my_chat_member": {"chat": {"id": -5}, "from": {"id": 9}}}, "-5"),
        ({"inline_query": {"id": "1", "from": {"id": 9}}}, "inline:9"),
        ({"chosen_inline_result": {"result_id": "1", "from": {"id": 9}}}, "inline:9"),
        ({"poll": {"id": "1"}}, "poll"),
        ({"something_new": 5}, "something_new"),
        ({"message": {"chat": {"id": "5"}, "from": {"id": True}}}, "message"),
        ({"message": "text"}, "message"),
    ],
)
def test_update_job_has_the_ordering_key_of_its_chat_or_user(content: dict[str, Any], ordering_key: str) -> None:
    job = update_job({"update_id": 1, **content}, bot_id=4242)
    assert job is not None
    assert (job.ordering_key, job.kind) == (ordering_key, next(iter(content)))


MESSAGE = {"message_id": 7, "date": 1, "chat": {"id": -5}, "from": {"id": 9}, "text": "a"}
TAP = {"id": "77", "from": {"id": 9}, "message": {"message_id": 7, "chat": {"id": -5}}, "data": "a"}
CHOSEN = {"result_id": "r", "from": {"id": 9}, "inline_message_id": "i"}
QUERY = {"id": "5", "from": {"id": 9}, "query": "a"}
MEMBER = {"chat": {"id": -5}, "from": {"id": 9}, "date": 1}


@pytest.mark.parametrize(
    ("kind", "content", "other"),
    [
        ("message", MESSAGE, MESSAGE | {"message_id": 8}),
        ("message", MESSAGE, MESSAGE | {"chat": {"id": -6}}),
        ("callback_query", TAP, TAP | {"id": "78"}),
        ("callback_query", TAP, TAP | {"message": {"message_id": 8, "chat": {"id": -5}}}),
        ("callback_query", TAP, TAP | {"message": None, "inline_message_id": "i"}),
        ("chosen_inline_result", CHOSEN, CHOSEN | {"inline_message_id": "j"}),
        ("chosen_inline_result", CHOSEN, CHOSEN | {"result_id": "s"}),
        ("inline_query", QUERY, QUERY | {"id": "6"}),
        ("my_chat_member", MEMBER, MEMBER | {"date": 2}),
    ],
)
def test_update_job_of_other_content_has_another_key_though_the_update_id_comes_again(
    kind: str, content: dict[str, Any], other: dict[str, Any]
) -> None:
    first, again, second = (
        update_job({"update_id": 1, kind: found}, bot_id=4242) for found in (content, dict(content), other)
    )
    assert first is not None
    assert again is not None
    assert second is not None
    assert first.key == again.key
    assert first.key != second.key


def test_update_job_has_another_key_for_another_bot_and_kind_and_update_id() -> None:
    made = [
        update_job({"update_id": 1, "message": MESSAGE}, bot_id=4242),
        update_job({"update_id": 1, "message": MESSAGE}, bot_id=4243),
        update_job({"update_id": 2, "message": MESSAGE}, bot_id=4242),
        update_job({"update_id": 1, "new_message": MESSAGE}, bot_id=4242),
    ]
    assert len({job.key for job in made if job is not None}) == 4


def test_update_job_keeps_the_bytes_of_the_webhook() -> None:
    job = update_job({"update_id": 1, "message": {}}, bot_id=4242, raw=b'{ "update_id": 1, "message": {} }')
    assert job is not None
    assert job.payload == b'{ "update_id": 1, "message": {} }'


@pytest.mark.parametrize("name", ["", "Message", "\ud83c", "x" * 65, "a\nb"])
def test_update_job_of_an_invalid_kind_is_unknown(name: str) -> None:
    job = update_job({"update_id": 1, name: {}}, bot_id=4242)
    assert job is not None
    assert (job.ordering_key, job.kind) == ("unknown", "unknown")


def test_update_job_without_content_is_unknown() -> None:
    job = update_job({"update_id": 1}, bot_id=4242)
    assert job is not None
    assert job.kind == "unknown"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["chat", "from", "id", "message", "text"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.integers(), st.sampled_from(["message", "callback_query", "inline_query", "new"]), anything)
def test_update_job_stores_any_content(number: int, kind: str, content: Any) -> None:
    update = {"update_id": number, kind: content}
    job = update_job(update, bot_id=1)
    assert job is not None
    assert json.loads(job.payload) == update
    assert job.ordering_key.encode()
    assert job.key.startswith("1:")
    assert job.key.endswith(f":{number}")
