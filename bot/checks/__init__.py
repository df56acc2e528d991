"""`python -m bot check`: what can be wrong with an installation, each finding with its remedy."""
