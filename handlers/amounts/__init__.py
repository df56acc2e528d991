"""The amount grammar: what people type, as money and a description."""
