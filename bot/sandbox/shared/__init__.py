"""What both fakes use: the clock, the change notifier, background tasks and timers."""
