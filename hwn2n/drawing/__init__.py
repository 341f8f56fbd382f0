"""The layer graph as an SVG picture, written by hand: no graphviz, no browser."""

from hwn2n.drawing.picture import draw

__all__ = ["draw"]
