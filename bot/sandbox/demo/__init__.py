"""`python -m bot demo`: the chat page over the fake services, and the tour that plays by itself."""
