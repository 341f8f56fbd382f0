"""Splits as functions of the user return them, for the tests of those."""

import numpy as np
import pytest

from hwn2n.distil.user_data import source_of
from hwn2n.errors import InputError

LABELS = np.arange(8) % 2


class Listed:
    """A data set of a list, with the attributes given."""

    def __init__(self, items, **attributes):
        self.items = items
        self.__dict__ |= attributes

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def pair(images=None, labels=LABELS):
    return (pixels(8, 3, 6, 6) if images is None else images), labels


def listed(labels=LABELS, image=None, **attributes):
    image = pixels(3, 6, 6) if image is None else image
    return Listed([(image, label) for label in labels], **attributes)


def train_of(part):
    return source_of((part, part), "m:f", None).train


def refused(part, other=None):
    """The message with which (part, other) is refused."""
    with pytest.raises(InputError) as caught:
        source_of((part, part if other is None else other), "m:f", None)
    assert "\n" not in str(caught.value)
    assert "m:f" in str(caught.value)
    return str(caught.value)
