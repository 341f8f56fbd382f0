"""What attention costs, for fvcore and for the layer graph alike."""

from __future__ import annotations

import math
from collections.abc import Sequence


def attention_flops(query: Sequence[int], key: Sequence[int], value: Sequence[int]) -> int:
    """Multiply-adds of scaled dot-product attention, each counted as one FLOP.

    Shapes: query (..., L, E), key (..., S, E), value (..., S, V), of which negative sizes are
    multiples of the batch. L * S * E for the scores and L * S * V for their product with the
    values, for each of the leading places; scaling and softmax are free, as they are to fvcore
    where a model writes them itself.
    """
    places = abs(math.prod(query[:-1]))
    return places * abs(key[-2]) * (query[-1] + value[-1])
