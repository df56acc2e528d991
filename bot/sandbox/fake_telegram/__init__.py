"""A fake Telegram over HTTP, to run and test Kvit without a bot account or a network."""

from bot.sandbox.fake_telegram.server import FakeTelegram
from bot.sandbox.fake_telegram.state import Chat, FakeTelegramState
from bot.sandbox.fake_telegram.transcript import TranscriptEntry

__all__ = ["Chat", "FakeTelegram", "FakeTelegramState", "TranscriptEntry"]
