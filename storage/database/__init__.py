"""The database: units of work, SQLite, backup, the file lock."""
