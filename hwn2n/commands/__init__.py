"""What hwn2n does, one module and one function for each command; the CLI only calls these."""
