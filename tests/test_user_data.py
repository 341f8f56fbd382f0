"""Classes and labels that functions of the user return, and code of theirs that fails."""

import sys
import types

import numpy as np
import pytest
import torch
from torch.utils.data import Subset
from user_parts import LABELS, Listed, listed, pair, refused, train_of

from hwn2n.cli import main
from hwn2n.commands.teach import teach
from hwn2n.distil.datasets import Data, load_data
from hwn2n.distil.images import ImageSet
from hwn2n.distil.user_data import call_function, import_function, source_of
from hwn2n.errors import InputError


def module(monkeypatch, name, **functions):
    made = types.ModuleType(name)
    made.__dict__.update(functions)
    monkeypatch.setitem(sys.modules, name, made)


# classes


def test_classes_in_another_order_are_refused():
    train = listed([0, 1, 2], classes=["cat", "dog", "eel"])
    message = refused(train, listed([0, 1], classes=["cat", "eel"]))
    assert "classes of m:f (test) must be those of m:f (train)" in message
    assert "class 1 is 'eel' and not 'dog'" in message
    assert "class 2 is missing and not 'eel'" in refused(
        train, listed([0, 1], classes=["cat", "dog"])
    )
    source = source_of((train, listed([0], classes=("cat", "dog", "eel"))), "m:f", None)
    assert source.classes == ("cat", "dog", "eel")


def test_classes_may_be_those_of_any_split_and_of_a_subset():
    whole = listed([0, 1, 2, 0], classes=["cat", "dog", "eel"])
    with_classes = source_of((pair(), whole), "m:f", None)
    assert with_classes.classes == ("cat", "dog", "eel")
    assert with_classes.train.num_classes == 3
    part = Subset(whole, [0, 1])
    assert source_of((part, part), "m:f", None).classes == ("cat", "dog", "eel")
    assert "class 1" in refused(part, listed([0, 1], classes=["cat", "eel"]))


@pytest.mark.parametrize("classes", [2, lambda: ["a", "b"], "ab", {"a", "b"}, []])
def test_classes_must_be_a_list_of_names(classes):
    message = refused(listed(classes=classes))
    assert "classes of m:f (train) must be a list of names" in message
    assert type(classes).__name__ in message


def test_more_classes_than_images_need_names():
    labels = LABELS.copy()
    labels[3] = 10**9
    for part in (pair(labels=labels), listed(labels)):
        message = refused(part)
        assert "below the number of its images, 16, but got 1000000000" in message
        assert "`classes`" in message
    assert source_of((pair(labels=LABELS + 14), pair()), "m:f", None).classes[-1] == "15"
    few = ImageSet(torch.zeros(2, 1, 6, 6, dtype=torch.uint8), torch.tensor([0, 99]), 100)
    assert len(source_of((few, few), "m:f", None).classes) == 100


# labels


def test_labels_of_any_integer_kind():
    for labels in (
        LABELS.astype(">i4"),
        LABELS.astype(np.uint8),
        LABELS.tolist(),
        [torch.tensor(label) for label in LABELS],
        torch.from_numpy(LABELS),
    ):
        assert train_of(pair(labels=labels)).labels.tolist() == LABELS.tolist()
    assert train_of(pair(labels=LABELS[::-1])).labels.tolist() == LABELS[::-1].tolist()
    assert train_of(listed(LABELS.astype(float))).labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.array(["a", "b"] * 4), "strings"),
        (["a", "b"] * 4, "strings"),
        (LABELS.astype(object), "Python objects, the first of type int"),
        (None, "NoneType"),
        ([10**30] * 8, "Python objects"),
        (LABELS + 0.5, "torch.float64 of shape (8,)"),
        (LABELS[:, None], "torch.int64 of shape (8, 1)"),
    ],
)
def test_labels_that_are_not_integers_are_refused(labels, found):
    message = refused(pair(labels=labels))
    assert "labels of m:f (train) must be" in message
    assert f"but got {found}" in message


@pytest.mark.parametrize("label", [0.7, torch.tensor(1.7), "1", None, float("nan"), 10**30])
def test_labels_of_a_dataset_must_be_whole_numbers(label):
    assert "m:f (train)" in refused(listed([0, 1, label]))


def test_a_fraction_is_not_cut_off():
    message = refused(listed([0, 0.7]))
    assert "number 1: a label must be a whole number, but got 0.7" in message


# code of the user's


@pytest.mark.parametrize("length", [-1, "x", 2.0])
def test_an_impossible_length_is_refused(length):
    class Strange(Listed):
        def __len__(self):
            return length

    assert "m:f (train) must have a length, but: " in refused(Strange([]))


def test_exits_of_the_users_code_are_refused(tmp_path, monkeypatch, capsys):
    class Exits(Listed):
        def __getitem__(self, index):
            sys.exit(0)

    module(monkeypatch, "my_exits", call=lambda: sys.exit(0), read=lambda: (Exits([1]),) * 2)
    (tmp_path / "my_exiting_module.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"my_exits:call must return data .* sys\.exit\(0\)"):
        call_function("my_exits:call")
    with pytest.raises(InputError, match=r"number 0: it calls sys\.exit\(0\)"):
        load_data("my_exits:read")
    with pytest.raises(InputError, match=r"must be importable: it calls sys\.exit\(0\)"):
        import_function("my_exiting_module:f")
    assert main(["teach", "digits-cnn", "--data", "my_exits:call", "-o", "teacher.pt"]) == 2
    assert "sys.exit(0)" in capsys.readouterr().err


def test_the_users_ctrl_c_passes(tmp_path, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    module(monkeypatch, "my_interrupt", call=interrupted)
    with pytest.raises(KeyboardInterrupt):
        call_function("my_interrupt:call")
    (tmp_path / "my_interrupted_module.py").write_text("raise KeyboardInterrupt\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        import_function("my_interrupted_module:f")


def test_ready_data_is_not_sized_and_split_again(monkeypatch):
    images = ImageSet(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), torch.arange(6) % 2, 2)
    ready = Data(
        name="my_ready:load",
        train=images,
        validation=images.subset(torch.arange(4)),
        classes=("a", "b"),
        mean=(0.0,),
        std=(1.0,),
        load_test=lambda: images,
    )
    module(monkeypatch, "my_ready", load=lambda: ready)
    # as `check` asks, which knows the network's size, and as what it has is described
    assert load_data("my_ready:load", image_size=8, validation=4, seed=3) is ready
    with pytest.raises(InputError, match=r"image_size must be left out for .* 8x8 .* but got 16"):
        load_data("my_ready:load", image_size=16)
    for validation in (3, 0.5):
        with pytest.raises(InputError, match=rf"4 validation images .* but got {validation}"):
            load_data("my_ready:load", validation=validation)
    with pytest.raises(InputError, match="image_size must be left out"):
        teach("digits-cnn", data=ready, out="never.pt", image_size=16)
