"""`python -m bot check`: finds what is wrong with an installation."""
