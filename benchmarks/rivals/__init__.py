"""Opponents from other tools for hwn2n's strategies: same budget, final training and test.

No tool is better than what it is compared with, so each rival gets the budget, the data, the
teacher's logits, the final training and the test that hwn2n's own students get, and hwn2n's counts
say what is inside: parameters by numel, FLOPs by fvcore. Only the network to begin with, and its
weights, are the rival's. Nothing in hwn2n itself imports any of this.
"""
