"""Budgets: YAML in, A x <= b over named columns out. Imports no torch."""
