"""What the application needs from Telegram: the messenger protocol and the rate limits."""
