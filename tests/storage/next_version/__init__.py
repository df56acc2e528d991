"""The made-up next version of the tables, for the tests of migrations."""
