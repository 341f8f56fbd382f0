"""Data, training and distillation."""
