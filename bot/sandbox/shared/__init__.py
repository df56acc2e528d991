"""What both fake services use: the hand-turned clock, change notifications, background tasks."""
