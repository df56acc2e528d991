"""`python -m bot demo`: the demo page over the fake services, and the tour, which runs without input."""
