"""What the application needs from Telegram: the messenger protocol and its rate limits."""
