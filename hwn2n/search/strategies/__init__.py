"""How candidates are proposed: the paper's two stages, evolution, local search."""
