"""Messages to chats: their text, the jobs that cause them, and their delivery."""
