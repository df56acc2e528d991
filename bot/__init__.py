"""The roof: assembles the parts, connects them to the world and runs them."""
