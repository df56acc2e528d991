"""The pretend world: Stripe and Telegram over real HTTP, for the demo and the tests."""
