"""Image folders, zips of them, and functions of the user."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS as TORCHVISIONS

from hwn2n.atomic import write_atomic
from hwn2n.distil import decode
from hwn2n.distil.cache import cache_folder
from hwn2n.distil.datasets import Data, load_data
from hwn2n.distil.image_files import IMG_EXTENSIONS
from hwn2n.distil.images import ImageSet
from hwn2n.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("HWN2N_CACHE", str(folder))
    return folder


def png(value, mode="RGB", size=(6, 6)):
    buffer = io.BytesIO()
    Image.new(mode, size, value).save(buffer, format="PNG")
    return buffer.getvalue()


def tree(splits=("train", "test"), classes=("cat", "dog"), n=10, **options):
    """Contents by path; the red channel tells the class, the green one the split."""
    return {
        f"{split}/{name}/{i:02d}.png" if split else f"{name}/{i:02d}.png": png(
            (10 * label, number, i), **options
        )
        for number, split in enumerate(splits)
        for label, name in enumerate(classes)
        for i in range(n)
    }


def write(target, contents):
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w") as archive:
            for path, content in contents.items():
                archive.writestr(path, content)
        return
    for path, content in contents.items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def load(path, **options):
    return load_data(f"imagefolder:{path}", **options)


def test_images_are_what_torchvisions_folders_take():
    assert IMG_EXTENSIONS == TORCHVISIONS


@pytest.mark.parametrize("name", ["tree", "tree.zip"])
@pytest.mark.parametrize("prefix", ["", "some/where/"])
def test_split_folders(tmp_path, name, prefix):
    path = tmp_path / name
    write(path, {prefix + key: value for key, value in tree().items()})
    data = load(path, validation=4)
    assert data.classes == ("cat", "dog")
    assert (len(data.train), len(data.validation), len(data.test())) == (16, 4, 20)
    assert torch.equal(data.train.images[:, 0, 0, 0].long(), 10 * data.train.labels)
    assert data.train.images[:, 1].unique().tolist() == [0]
    assert data.test().images[:, 1].unique().tolist() == [1]
    assert data.augment == "crop-flip"


def test_a_validation_folder_is_used_unless_a_number_is_given(tmp_path):
    write(tmp_path / "tree", tree(("train", "val", "test")))
    data = load(tmp_path / "tree")
    assert (len(data.train), len(data.validation)) == (20, 20)
    assert data.validation.images[:, 1].unique().tolist() == [1]
    assert len(load(tmp_path / "tree", validation=6).train) == 14


def test_a_tree_without_splits_gives_up_a_fifth_for_the_test(tmp_path):
    write(tmp_path / "tree", tree(("",), ("cat", "dog", "test")))
    one, two = load(tmp_path / "tree"), load(tmp_path / "tree", seed=1)
    assert one.classes == ("cat", "dog", "test")
    assert (len(one.train), len(one.validation), len(one.test())) == (22, 2, 6)
    assert torch.equal(one.test().images, two.test().images)
    seen = torch.cat([one.train.images, one.validation.images, one.test().images])
    assert len(seen.flatten(1).unique(dim=0)) == 30


def test_a_second_load_decodes_nothing(tmp_path, cache, monkeypatch):
    write(tmp_path / "tree.zip", tree())
    first = load(tmp_path / "tree.zip")
    original = decode._decode_one

    def refuse(*_):
        raise RuntimeError("decoded again")

    monkeypatch.setattr(decode, "_decode_one", refuse)
    assert torch.equal(load(tmp_path / "tree.zip").train.images, first.train.images)
    with pytest.raises(RuntimeError, match="decoded again"):
        load(tmp_path / "tree.zip", image_size=4)
    monkeypatch.setattr(decode, "_decode_one", original)
    for file in cache.rglob("*.safetensors"):
        file.write_bytes(b"damaged")
    assert torch.equal(load(tmp_path / "tree.zip").train.images, first.train.images)
    write(tmp_path / "tree.zip", tree(n=4))  # other contents, another entry
    assert len(load(tmp_path / "tree.zip", validation=2).train) == 6


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("HWN2N_CACHE", str(tmp_path / "file" / "below"))
    write(tmp_path / "tree", tree())
    assert len(load(tmp_path / "tree").train) == 18


def test_without_a_home_the_cache_is_a_folder_of_temporary_files(tmp_path, monkeypatch):
    def unknown(*_):
        raise RuntimeError("Could not determine home directory.")

    for name in ("HWN2N_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.home", unknown)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert cache_folder().parent == tmp_path and cache_folder().name.startswith("hwn2n")
    write(tmp_path / "tree", tree())
    load(tmp_path / "tree")
    assert len(list(cache_folder().rglob("*.safetensors"))) == 1


def test_the_cache_of_nobody_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HWN2N_CACHE", "~nosuchuser/cache")
    write(tmp_path / "tree", tree())
    with pytest.raises(
        InputError, match=r"HWN2N_CACHE must not begin with ~ .* '~nosuchuser/cache"
    ):
        load(tmp_path / "tree")


def test_cache_folder_and_atomic_write(tmp_path, monkeypatch):
    monkeypatch.delenv("HWN2N_CACHE")
    assert cache_folder().name == "hwn2n"
    target = tmp_path / "new" / "file"
    target.parent.mkdir()

    def fail(path):
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomic(target, fail)
    assert list(target.parent.iterdir()) == []
    write_atomic(target, lambda path: path.write_text("whole"))
    assert [file.name for file in target.parent.iterdir()] == ["file"]


def test_sizes_and_colours(tmp_path):
    contents = tree(n=3)
    contents["train/cat/wide.png"] = png((200, 0, 0), size=(12, 6))
    contents["train/dog/grey.png"] = png(77, mode="L")
    write(tmp_path / "tree", contents)
    with pytest.raises(InputError, match=r"one size unless image_size.*wide.png has 12x6 pixels"):
        load(tmp_path / "tree")
    data = load(tmp_path / "tree", image_size=4)
    assert data.image_shape == (3, 4, 4)
    assert [77, 77, 77] in data.train.images[:, :, 0, 0].tolist()
    write(tmp_path / "grey", {key: png(i, "L") for i, key in enumerate(tree())})
    assert load(tmp_path / "grey").image_shape == (1, 6, 6)


def test_crop_takes_the_middle(tmp_path):
    pixels = np.zeros((4, 8), dtype=np.uint8)
    pixels[:, 2:6] = 200
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    write(tmp_path / "tree", dict.fromkeys(tree(n=4), buffer.getvalue()))
    assert load(tmp_path / "tree", image_size=4).train.images.unique().tolist() == [200]


def bad_trees():
    good = tree(n=3)
    deep = io.BytesIO()
    Image.fromarray(np.full((6, 6), 70, dtype=np.uint16)).save(deep, format="PNG")
    return {
        "nothing": ({}, "must contain images"),
        "no images": ({"train/cat/readme.txt": b"x"}, "must contain images"),
        "one class": (tree(("train",), ("cat",)), "at least 2 classes"),
        "no class folder": ({**good, "train/0.png": png(0)}, "0.png must lie in the folder of"),
        "no train folder": (tree(("val", "test")), "must have a folder train"),
        "beside the splits": ({**good, "more/cat/0.png": png(0)}, "must lie in train, val or test"),
        "unreadable": ({**good, "train/cat/9.png": b"not a png"}, "cat/9.png must be a readable"),
        "truncated": ({**good, "train/cat/9.png": png(0)[:45]}, "cat/9.png must be a readable"),
        "16 bits": ({**good, "train/cat/9.png": deep.getvalue()}, "8 bits per channel"),
        "flat": ({"a.png": png(0), "b.png": png(1)}, "folder of its class"),
    }


@pytest.mark.parametrize("case", sorted(bad_trees()))
@pytest.mark.parametrize("name", ["tree", "tree.zip"])
def test_bad_trees(tmp_path, case, name):
    contents, words = bad_trees()[case]
    if name == "tree":
        (tmp_path / name).mkdir()
    write(tmp_path / name, contents)
    with pytest.raises(InputError, match=words) as caught:
        load(tmp_path / name, validation=2)
    assert "\n" not in str(caught.value)


def test_bad_paths_and_zips(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "missing")
    (tmp_path / "broken.zip").write_bytes(b"PK not a zip")
    with pytest.raises(InputError, match=r"readable \.zip"):
        load(tmp_path / "broken.zip")
    write(tmp_path / "tree", tree())
    (tmp_path / "tree" / "train" / "ant").mkdir()
    with pytest.raises(InputError, match=r"train/ant must contain images"):
        load(tmp_path / "tree")


def test_damaged_and_oversized_zip_members(tmp_path, monkeypatch):
    path = tmp_path / "tree.zip"
    write(path, tree(n=3))
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF  # in the first image: its checksum no longer fits
    (tmp_path / "damaged.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"00.png must be (a )?readable"):
        load(tmp_path / "damaged.zip", validation=2)
    monkeypatch.setattr("hwn2n.distil.image_files.MAX_ZIP_MEMBER_BYTES", 10)
    with pytest.raises(InputError, match="must have at most"):
        load(path)


def test_sets_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    write(tmp_path / "tree", tree())
    monkeypatch.setattr("hwn2n.distil.source.MAX_SET_BYTES", 1000)
    with pytest.raises(InputError, match="choose a smaller image_size"):
        load(tmp_path / "tree")


USER_MODULE = """
import torch
from torch.utils.data import Dataset

def pair(n, shape=(2, 6, 6), value=3):
    return torch.full((n, *shape), value, dtype=torch.uint8), torch.arange(n) % 4

class Squares(Dataset):
    classes = ["a", "b", "c", "d"]
    def __len__(self):
        return 20
    def __getitem__(self, index):
        return torch.full((1, 5, 5), index / 20), index % 4

def two(): return pair(20), pair(8)
def three(): return pair(20), pair(6), pair(8)
def datasets(): return Squares(), Squares()
def channels_last(): return pair(20, (6, 6, 3)), pair(8, (6, 6, 3))
def grey(): return (pair(20, (6, 6))[0].numpy(), [i % 4 for i in range(20)]), pair(8, (6, 6))
def normalised(): return (torch.randn(20, 1, 6, 6), torch.arange(20) % 4), pair(8)
def other_channels(): return pair(20), pair(8, (1, 6, 6))
def one_class(): return (pair(20)[0], torch.zeros(20).long()), pair(8)
def wrong_labels(): return (pair(20)[0], torch.arange(20) - 1), pair(8)
def float_labels(): return (pair(20)[0], torch.rand(20)), pair(8)
def nothing(): return None
def numbers(): return 1, 2
not_callable = 3
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    (tmp_path / "my_images.py").write_text(USER_MODULE)
    (tmp_path / "my_broken.py").write_text("import surely_no_such_module")
    monkeypatch.chdir(tmp_path)
    yield
    import sys

    sys.modules.pop("my_images", None)


@pytest.mark.parametrize(
    ("function", "splits", "shape"),
    [
        ("two", (18, 2, 8), (2, 6, 6)),
        ("three", (20, 6, 8), (2, 6, 6)),
        ("datasets", (18, 2, 20), (1, 5, 5)),
        ("channels_last", (18, 2, 8), (3, 6, 6)),
        ("grey", (18, 2, 8), (1, 6, 6)),
    ],
)
def test_a_users_function(user_module, function, splits, shape):
    data = load_data(f"my_images:{function}")
    assert (len(data.train), len(data.validation), len(data.test())) == splits
    assert data.image_shape == shape
    assert data.classes == (("a", "b", "c", "d") if function == "datasets" else tuple("0123"))
    if function == "datasets":
        assert sorted(data.test().images[:, 0, 0, 0].tolist())[1] == 13  # 0.05 * 255, rounded
    assert data.augment == "none"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("my_images:normalised", "floats in 0..1"),
        ("my_images:one_class", "at least 2 classes"),
        ("my_images:wrong_labels", "not negative, but got -1"),
        ("my_images:float_labels", "integers"),
        ("my_images:nothing", "returned NoneType"),
        ("my_images:numbers", "returned int"),
        ("my_images:missing", "none of that name"),
        ("my_images:not_callable", "none of that name"),
        ("my_images:", "module:function"),
        ("my_broken:load", "surely_no_such_module"),
        ("no_such_module_here:load", "must be importable"),
    ],
)
def test_bad_functions_of_users(user_module, function, words):
    with pytest.raises(InputError, match=words):
        load_data(function)


def test_a_users_test_images_are_checked(user_module):
    data = load_data("my_images:other_channels")
    with pytest.raises(InputError, match="test images"):
        data.test()


def test_data_checks_itself():
    images = ImageSet(torch.zeros(4, 1, 6, 8, dtype=torch.uint8), torch.arange(4) % 2, 2)

    def data(**changes):
        given = {"name": "x", "train": images, "validation": images, "classes": ("a", "b")}
        given |= {"mean": (0.0,), "std": (1.0,), "load_test": lambda: images}
        return Data(**(given | changes))

    assert data().num_classes == 2
    with pytest.raises(InputError, match="square"):
        _ = data().image_size
    with pytest.raises(InputError, match="2 classes"):
        data(classes=("a",))
    with pytest.raises(InputError, match="augment"):
        data(augment="mixup")
    three = ImageSet(images.images, torch.tensor([0, 1, 2, 0]))
    with pytest.raises(InputError, match=r"validation labels of x must be in 0..1, but got 2"):
        data(validation=three)
