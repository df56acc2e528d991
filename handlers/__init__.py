"""The domain: entry points (chat, web), use cases and pure decisions; Stripe, Telegram and the clock are protocols."""
