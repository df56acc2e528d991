"""The Telegram chat: updates come in, commands and buttons call services, answers go out."""
