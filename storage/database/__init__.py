"""The database: units of work, SQLite, PostgreSQL, backup, the file lock."""
