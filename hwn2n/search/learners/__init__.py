"""How policies learn from the rewards of their candidates."""
