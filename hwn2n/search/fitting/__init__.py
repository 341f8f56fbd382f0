"""Decisions made to fit a budget before they are trained: by counts, by forecasts, by readings.

`widths` says which widths may be chosen, `projection` scales a decision to what can be counted,
`forecast` guesses what will be measured, `fitter` does both, and `refit` mends the guess by what a
network measured itself.
"""
