"""Infrastructure: adapters to Stripe and Telegram, the web server, the commands, and the wiring of all parts."""
