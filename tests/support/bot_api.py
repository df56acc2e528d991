"""Checks each call of the Bot API against aiogram's models, which are generated from Telegram's documentation."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ValidationError

from bot.sandbox.fake_telegram import TranscriptEntry

MAX_TEXT, MAX_DATA, MAX_ANSWER = 4096, 64, 200


def faults(entries: Iterable[TranscriptEntry]) -> list[str]:
    """The errors of the bot's calls in a transcript: unknown, missing or wrongly typed parameters, and lengths."""
    return [f"{e.method}: {fault}" for e in entries if e.direction == "out" for fault in _faults(e.method, e.params)]


@cache
def _models() -> dict[str, type[BaseModel]]:
    """Each method's model, by its name in lower case. aiogram is loaded here as that takes several seconds."""
    methods = import_module("aiogram.methods")
    found = (getattr(methods, name) for name in methods.__all__)
    return {
        each.__api_method__.lower(): each for each in found if isinstance(getattr(each, "__api_method__", None), str)
    }


def _faults(method: str, params: dict[str, Any]) -> Iterator[str]:
    model = _models().get(method.lower())
    if model is None:
        yield "no such method"
        return
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    read = {name: _read(value, fields[name].annotation if name in fields else str) for name, value in params.items()}
    try:
        call = model.model_validate(read)
    except ValidationError as error:
        yield from (f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
        return
    yield from (f"unknown parameter {name}" for name in _extras(call))
    yield from _too_long(method, read)


def _too_long(method: str, read: dict[str, Any]) -> Iterator[str]:
    max_text = MAX_ANSWER if method == "answerCallbackQuery" else MAX_TEXT
    if len(str(read.get("text", ""))) > max_text:
        yield "the text is too long"
    rows = (read.get("reply_markup") or {}).get("inline_keyboard", [])
    for data in (button.get("callback_data") for row in rows for button in row):
        if data is not None and not 1 <= len(data.encode()) <= MAX_DATA:
            yield "callback data has 1 to 64 bytes"


def _read(value: Any, annotation: Any) -> Any:
    """Nested parameters come as JSON within a form."""
    if not isinstance(value, str) or _takes_text(annotation):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _takes_text(annotation: Any) -> bool:
    if annotation is str:
        return True
    unions = (typing.Union, types.UnionType, typing.Literal)
    return typing.get_origin(annotation) in unions and any(map(_takes_text, typing.get_args(annotation)))


def _extras(part: object, path: str = "") -> Iterator[str]:
    if isinstance(part, BaseModel):
        yield from (f"{path}{name}" for name in part.model_extra or {})
        for name in type(part).model_fields:
            yield from _extras(getattr(part, name), f"{path}{name}.")
    elif isinstance(part, list | tuple):
        for number, item in enumerate(part):
            yield from _extras(item, f"{path}{number}.")
