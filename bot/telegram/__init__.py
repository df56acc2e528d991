"""The adapter to Telegram: updates in, messages out."""
