"""A pretend Telegram that speaks HTTP, so that Kvit can be tried and tested whole, without an account or a network."""
