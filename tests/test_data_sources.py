"""Every named source on tiny files in its own on-disk format, through the real readers."""

import gzip
import hashlib
import io
import math
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torchvision.datasets as tv
from PIL import Image

from hwn2n.distil.datasets import load_data
from hwn2n.distil.imagenet32 import BatchUnpickler, load_imagenet32, read_batch
from hwn2n.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("HWN2N_CACHE", str(folder))
    return folder


def idx(array):
    """Bytes of an IDX file (MNIST's format): magic number, sizes, values."""
    magic = 0x0800 + array.ndim
    return (
        struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.astype(np.uint8).tobytes()
    )


def write_mnist(root, name="MNIST", packed=True, train=40, test=20):
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, n in (("train", train), ("t10k", test)):
        for kind, array in (
            ("images-idx3", rng.integers(0, 256, (n, 28, 28))),
            ("labels-idx1", np.arange(n) % 10),
        ):
            content = idx(array)
            file = raw / f"{split}-{kind}-ubyte{'.gz' if packed else ''}"
            file.write_bytes(gzip.compress(content) if packed else content)
    return raw


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
)
def test_mnist(tmp_path, packed, name, folder):
    write_mnist(tmp_path, folder, packed)
    data = load_data(name, root=tmp_path, validation=10)
    assert (len(data.train), len(data.validation), len(data.test())) == (30, 10, 20)
    assert data.image_shape == (1, 28, 28)
    assert torch.bincount(data.validation.labels).tolist() == [1] * 10
    assert data.classes[0] == ("0" if name == "mnist" else "T-shirt/top")
    first = np.random.default_rng(0).integers(0, 256, (40, 28, 28))
    pixels = torch.cat([data.train.images, data.validation.images]).long().sum()
    assert pixels == first.sum()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_mnist_packed_in_a_read_only_folder(tmp_path):
    raw = write_mnist(tmp_path)
    raw.chmod(0o500)
    assert len(load_data("mnist", root=tmp_path).train) == 36


def test_mnist_leaves_its_folder_as_it_is_and_unpacks_once(tmp_path, cache):
    raw = write_mnist(tmp_path)
    before = sorted(raw.iterdir())
    load_data("mnist", root=tmp_path)
    unpacked = sorted(cache.rglob("*-ubyte"))
    assert len(unpacked) == 4
    stamps = [file.stat().st_mtime_ns for file in unpacked]
    load_data("mnist", root=tmp_path)
    assert [file.stat().st_mtime_ns for file in unpacked] == stamps
    assert sorted(raw.iterdir()) == before


def test_mnist_packed_beside_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("HWN2N_CACHE", str(tmp_path / "file"))
    raw = write_mnist(tmp_path)
    with pytest.raises(InputError, match=r"file/unpacked/\w+ must be writable for") as caught:
        load_data("mnist", root=tmp_path)
    message = str(caught.value)
    assert "Not a directory (let HWN2N_CACHE name a folder" in message and "\n" not in message
    assert "download" not in message
    for file in list(raw.iterdir()):  # as the message says
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
    assert len(load_data("mnist", root=tmp_path).train) == 36


def test_mnist_also_lies_in_a_folder_of_its_name_and_is_resized(tmp_path):
    write_mnist(tmp_path / "mnist")
    data = load_data("mnist", root=tmp_path, image_size=32)
    assert data.image_shape == data.test().image_shape == (1, 32, 32)


def test_a_size_at_which_a_set_would_fill_the_memory_is_refused(tmp_path):
    write_mnist(tmp_path, train=300)
    with pytest.raises(InputError, match=r"300 images of 1x8192x8192 .* image_size for MNIST"):
        load_data("mnist", root=tmp_path, image_size=8192)


def test_mnist_files_that_are_missing_or_broken(tmp_path):
    with pytest.raises(InputError, match=r"MNIST/raw.*must exist.*torchvision.datasets.MNIST"):
        load_data("mnist", root=tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing was created or downloaded
    raw = write_mnist(tmp_path)
    images = raw / "train-images-idx3-ubyte.gz"
    whole = images.read_bytes()
    images.write_bytes(whole[:1000])
    with pytest.raises(InputError, match="must be readable") as caught:
        load_data("mnist", root=tmp_path)
    assert "\n" not in str(caught.value)
    images.write_bytes(gzip.compress(gzip.decompress(whole)[:5000]))
    with pytest.raises(InputError, match="must be readable"):
        load_data("mnist", root=tmp_path)
    images.unlink()
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte.*must exist"):
        load_data("mnist", root=tmp_path)


def test_test_split_is_read_only_when_asked_for(tmp_path):
    raw = write_mnist(tmp_path, packed=False)
    (raw / "t10k-images-idx3-ubyte").write_bytes(b"not images")
    data = load_data("mnist", root=tmp_path)
    with pytest.raises(InputError, match="must be readable"):
        data.test()


REAL_MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"


@pytest.mark.skipif(not REAL_MNIST.is_dir(), reason="MNIST does not lie beside the repository")
def test_real_mnist():
    data = load_data("mnist", root=REAL_MNIST)
    assert (len(data.train), len(data.validation), len(data.test())) == (55_000, 5_000, 10_000)
    # the constants that everybody uses for the 60,000 images
    assert data.mean == pytest.approx((0.1307,), abs=5e-4)
    assert data.std == pytest.approx((0.3081,), abs=5e-4)


@pytest.mark.parametrize("kind", [tv.CIFAR10, tv.CIFAR100])
def test_cifar(tmp_path, monkeypatch, kind):
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    classes = 10 if kind is tv.CIFAR10 else 100
    label_key = "labels" if kind is tv.CIFAR10 else "fine_labels"

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch(name, red):
        pixels = np.full((200, 3, 32, 32), 7, dtype=np.uint8)
        pixels[:, 0] = red
        content = {"data": pixels.reshape(200, -1), label_key: [i % classes for i in range(200)]}
        return [name, write(name, content)]

    train = [batch(name, 50) for name, _ in kind.train_list]
    test = [batch(name, 99) for name, _ in kind.test_list]
    meta = {"filename": kind.meta["filename"], "key": kind.meta["key"]}
    meta["md5"] = write(meta["filename"], {meta["key"]: [f"c{i}" for i in range(classes)]})
    monkeypatch.setattr(kind, "train_list", train)
    monkeypatch.setattr(kind, "test_list", test)
    monkeypatch.setattr(kind, "meta", meta)
    name = kind.__name__.lower()
    data = load_data(name, root=tmp_path, validation=0.5)
    assert len(data.train) == len(data.validation) == 100 * len(train)
    assert data.classes[3] == "c3"
    assert data.augment == "crop-flip"
    assert data.mean == pytest.approx((50 / 255, 7 / 255, 7 / 255))
    assert data.test().images[:, 0].unique().tolist() == [99]
    (folder / kind.train_list[0][0]).write_bytes(b"changed: its MD5 sum protects from its pickle")
    with pytest.raises(InputError, match="corrupted"):
        load_data(name, root=tmp_path)


def test_svhn(tmp_path, monkeypatch):
    splits = dict(tv.SVHN.split_list)
    for split, n in (("train", 40), ("test", 20)):
        file = tmp_path / f"{split}_32x32.mat"
        pixels = np.zeros((32, 32, 3, n), dtype=np.uint8)
        pixels[:, :, 2] = 9
        scipy.io.savemat(file, {"X": pixels, "y": (np.arange(n) % 10 + 1)[:, None]})
        splits[split] = [splits[split][0], file.name, hashlib.md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(tv.SVHN, "split_list", splits)
    data = load_data("svhn", root=tmp_path)
    assert (len(data.train), len(data.validation), len(data.test())) == (36, 4, 20)
    assert data.train.images[:, 2].unique().tolist() == [9]
    assert sorted(data.test().labels.unique().tolist()) == list(range(10))
    with pytest.raises(InputError, match=r"train_32x32\.mat"):
        load_data("svhn", root=tmp_path / "elsewhere")


def test_caltech256(tmp_path):
    for number, name in enumerate(["001.ak47", "002.american-flag"], start=1):
        folder = tmp_path / "caltech256" / "256_ObjectCategories" / name
        folder.mkdir(parents=True)
        for image in range(1, 11):
            mode, size = ("L", (30, 20)) if image == 1 else ("RGB", (20, 40))
            file = folder / f"{number:03d}_{image:04d}.jpg"
            Image.new(mode, size, 100).save(file)
            file.write_bytes(file.read_bytes().ljust(2000, b"\0"))
    data = load_data("caltech256", root=tmp_path, image_size=16)
    assert data.classes == ("ak47", "american-flag")
    assert data.image_shape == (3, 16, 16)
    # a fifth for testing, a tenth of the rest for validation
    assert (len(data.train), len(data.validation), len(data.test())) == (15, 1, 4)
    assert data.train.images.max() < 150
    for file in folder.glob("*.jpg"):  # other contents of the same size, and the time set back
        before = file.stat()
        Image.new("RGB", (20, 40), 200).save(file)
        file.write_bytes(file.read_bytes().ljust(2000, b"\0"))
        assert file.stat().st_size == before.st_size
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load_data("caltech256", root=tmp_path, image_size=16).train.images.max() > 150
    with pytest.raises(InputError, match="256_ObjectCategories must exist"):
        load_data("caltech256", root=tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def imagenet_batch(n, first_label=1, **changes):
    pixels = np.arange(n * 3072).reshape(n, 3072).astype(np.uint8)
    return {"data": pixels, "labels": [first_label + i for i in range(n)], **changes}


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_imagenet32(tmp_path, protocol):
    folder = tmp_path / "imagenet32"
    folder.mkdir()
    for number in range(1, 11):
        content = imagenet_batch(6, first_label=number, mean=np.zeros(3072))
        (folder / f"train_data_batch_{number}").write_bytes(pickle.dumps(content, protocol))
    (folder / "val_data").write_bytes(pickle.dumps(imagenet_batch(5, 996), protocol))
    data = load_data("imagenet32", root=tmp_path, validation=3)
    assert (len(data.train), data.num_classes, data.image_shape) == (57, 1000, (3, 32, 32))
    numbers = load_imagenet32(tmp_path, None, False).train.labels.reshape(10, 6)[:, 0]
    assert numbers.tolist() == list(range(10)), "the tenth after the ninth, not after the first"
    assert data.test().labels.tolist() == [995, 996, 997, 998, 999]
    assert torch.equal(data.test().images.flatten()[:3], torch.tensor([0, 1, 2]).byte())


def test_imagenet32_is_refused_at_a_size_at_which_its_batches_together_are_too_large(
    tmp_path, monkeypatch
):
    for number in (1, 2):
        file = tmp_path / f"train_data_batch_{number}"
        file.write_bytes(pickle.dumps(imagenet_batch(3)))
    (tmp_path / "val_data").write_bytes(pickle.dumps(imagenet_batch(2)))
    monkeypatch.setattr("hwn2n.distil.source.MAX_SET_BYTES", 4 * 3 * 64 * 64)
    with pytest.raises(InputError, match=r"6 images of 3x64x64 take"):
        load_imagenet32(tmp_path, 64, False)


def test_imagenet32_as_npz(tmp_path):
    for number in (2, 3, 1):
        batch = imagenet_batch(20, first_label=number)
        np.savez(tmp_path / f"train_data_batch_{number}.npz", **batch)
    with pytest.raises(InputError, match=r"val_data\.npz must exist"):
        load_data("imagenet32", root=tmp_path)
    np.savez(tmp_path / "val_data.npz", **imagenet_batch(5, 996))
    data = load_data("imagenet32", root=tmp_path, validation=3)
    assert (len(data.train), data.num_classes, data.image_shape) == (57, 1000, (3, 32, 32))
    assert data.test().labels.tolist() == [995, 996, 997, 998, 999]
    path = tmp_path / "train_data_batch_2.npz"
    np.savez(path, data=np.array([object()], dtype=object), labels=[1])  # a pickle inside
    for content in (path.read_bytes(), b"PK\3\4 and no more"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="must be an ImageNet32x32 batch") as caught:
            load_data("imagenet32", root=tmp_path)
        assert "\n" not in str(caught.value)


def test_imagenet32_leaves_out_no_batch(tmp_path):
    for name, label in (("train_data_batch_1", 1), ("train_data_batch_4", 4), ("val_data", 9)):
        (tmp_path / name).write_bytes(pickle.dumps(imagenet_batch(6, label)))
    (tmp_path / "train_data_batch_5.md5").write_text("no batch")
    np.savez(tmp_path / "train_data_batch_2.npz", **imagenet_batch(6, 2))
    with pytest.raises(InputError, match=r"batch_3 or train_data_batch_3\.npz must exist, but"):
        load_data("imagenet32", root=tmp_path)
    np.savez(tmp_path / "train_data_batch_3.npz", **imagenet_batch(6, 3))
    labels = load_imagenet32(tmp_path, None, False).train.labels
    assert labels.reshape(4, 6)[:, 0].tolist() == [0, 1, 2, 3]


def run_when_loaded(path):
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {path}",)

    return Bomb()


def test_imagenet32_batches_run_no_code_and_hold_only_images(tmp_path):
    batch = tmp_path / "train_data_batch_1"
    (tmp_path / "val_data").write_bytes(pickle.dumps(imagenet_batch(2)))
    marker = tmp_path / "ran"
    bad = [
        (imagenet_batch(2, data=run_when_loaded(marker)), "not admitted"),
        (imagenet_batch(2, labels=[1]), "3072"),
        (imagenet_batch(2, labels=[1.5, 2.5]), "integer labels"),
        (imagenet_batch(2, data=np.zeros((2, 3072))), "uint8"),
        (imagenet_batch(2, data=np.array([[object()]])), "not admitted|object"),
        ({"data": np.zeros((2, 3072), np.uint8)}, "labels"),
        ([1, 2], "batch"),
        (imagenet_batch(2, first_label=1000), r"batch_1 must .* in 1..1000, but are in 1000..1001"),
        (imagenet_batch(2, first_label=0), r"batch_1 must .* in 1..1000, but are in 0..1"),
    ]
    for content, words in bad[1:4] + bad[5:] + bad[:1]:
        batch.write_bytes(pickle.dumps(content))
        with pytest.raises(InputError, match=words) as caught:
            load_data("imagenet32", root=tmp_path)
        assert "\n" not in str(caught.value)
    assert not marker.exists()
    batch.write_bytes(pickle.dumps(imagenet_batch(2))[:100])
    with pytest.raises(InputError, match="must be an ImageNet32x32 batch"):
        read_batch(batch)
    batch.unlink()
    with pytest.raises(InputError, match=r"train_data_batch_1 must exist.*image-net.org"):
        load_data("imagenet32", root=tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nscalar\n(S'x'\ntR.",
        b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.",
        # an array that would take a terabyte
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(L1000000000000L\ntS'b'\ntR.",
    ],
)
def test_unpickler_admits_nothing_else(content):
    with pytest.raises(pickle.UnpicklingError):
        BatchUnpickler(io.BytesIO(content), encoding="latin1").load()


def test_digits():
    data = load_data("digits")
    assert len(data.train) + len(data.validation) + len(data.test()) == 1797
    assert (data.in_channels, data.image_size, data.num_classes) == (1, 8, 10)
    assert int(data.train.images.max()) == 255
    again, other = load_data("digits"), load_data("digits", seed=1)
    assert torch.equal(again.validation.images, data.validation.images)
    assert not torch.equal(other.validation.images, data.validation.images)
    # whatever the seed, the test images stay the same and nobody else sees them
    assert torch.equal(other.test().images, data.test().images)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("cifar11", {}, "cifar100"),
        ("digits", {"validation": 0}, "validation must be"),
        ("digits", {"validation": 1.5}, "validation must be"),
        ("digits", {"validation": 5000}, r"number of images in 1\.\.1437, but got 5000"),
        ("digits", {"validation": 1.0}, "share between 0 and 1, or a number .* but got 1.0"),
        ("digits", {"validation": 200.0}, "without a point, but got 200.0"),
        ("digits", {"validation": math.nan}, "share between 0 and 1, .* but got nan"),
        ("digits", {"validation": math.inf}, "share between 0 and 1, .* but got inf"),
        ("digits", {"image_size": 0}, "image_size must be 1 to 8192 pixels, but got 0"),
        ("digits", {"image_size": 10**10}, "must be 1 to 8192 pixels, but got 10000000000"),
        ("digits", {"image_size": 8192}, "choose a smaller image_size for digits"),
        ("mnist", {"root": "~nosuchuser/x"}, "data-root.* no user here: '~nosuchuser/x'"),
        ("imagefolder:~nosuchuser/x", {}, "no user here: '~nosuchuser/x'"),
        (f"imagefolder:{'x' * 300}", {}, "must be a folder of images or a .zip of one: "),
    ],
)
def test_load_data_refuses(name, options, words):
    with pytest.raises(InputError, match=words) as caught:
        load_data(name, **options)
    assert "\n" not in str(caught.value)
