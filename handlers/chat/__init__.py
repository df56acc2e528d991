"""The doors of the chat: a command or a tap comes in, a desk is asked, an answer goes out."""
