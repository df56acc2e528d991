"""A pretend Telegram that speaks HTTP, so that Kvit can be tried and tested whole, without an account or a network."""

from bot.sandbox.fake_telegram.server import FakeTelegram
from bot.sandbox.fake_telegram.state import Chat, FakeTelegramState
from bot.sandbox.fake_telegram.transcript import TranscriptEntry

__all__ = ["Chat", "FakeTelegram", "FakeTelegramState", "TranscriptEntry"]
