"""The sandbox: fake Stripe and fake Telegram over HTTP, for the demo and the tests."""
