"""The pretend state: Stripe and Telegram over real HTTP, for the demo and the tests."""
