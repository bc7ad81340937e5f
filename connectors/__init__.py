"""How each vendor is read."""
