"""The database tables, by subject."""
