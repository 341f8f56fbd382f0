"""Seeds for the parts of a search, so that each part draws the same numbers whatever came before.

A candidate's training depends on the run's seed and on the candidate alone, not on when or where
it is evaluated: that is what makes a resumed ledger, or one made by several workers, the same.
"""

from __future__ import annotations

import hashlib


def derive_seed(*parts: str | int) -> int:
    """A seed in 0 .. 2^31 - 1 from names and numbers."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
