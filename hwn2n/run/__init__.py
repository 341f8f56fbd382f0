"""A run: its folder, its ledger, its checkpoints, and what a person sees of it."""
