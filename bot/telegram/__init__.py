"""The adapter to Telegram's Bot API: updates in, messages out."""
