"""Image files that lie in an odd way: links, swaps, damage, a Mac's, grey beside colour."""

import io
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hwn2n.distil import decode
from hwn2n.distil.datasets import Data, load_data
from hwn2n.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWN2N_CACHE", str(tmp_path / "cache"))


def image(level: int, mode: str = "RGB", kind: str = "BMP") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (6, 6), (level, level, 0)).convert(mode).save(content, format=kind)
    return content.getvalue()


def write(top: Path, splits: dict[str, str], n: int = 6) -> Path:
    """A folder of classes cat (black) and dog (light) below each split; modes by split."""
    for split, mode in splits.items():
        for level, name in ((0, "cat"), (200, "dog")):
            folder = top / split / name
            folder.mkdir(parents=True)
            for number in range(n):
                (folder / f"{number}.bmp").write_bytes(image(level, mode))
    return top


def load(path: Path, **options: int) -> Data:
    return load_data(f"imagefolder:{path}", **options)


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same_times(top: Path) -> None:
    for file in top.rglob("*.bmp"):
        os.utime(file, ns=(10**18, 10**18))


def test_swapped_classes_are_not_taken_from_the_cache(tmp_path: Path) -> None:
    top = write(tmp_path / "tree", {"": "RGB"})
    same_times(top)
    before = load(top)
    for old, new in (("cat", "other"), ("dog", "cat"), ("other", "dog")):
        (top / old).rename(top / new)
    after = load(top)
    assert before.train.images[before.train.labels == 0].max() == 0
    assert after.train.images[after.train.labels == 0].max() == 200


def test_a_file_written_again_with_its_old_time_is_read_again(tmp_path: Path) -> None:
    top = write(tmp_path / "tree", {"train": "RGB", "test": "RGB"})
    same_times(top)
    assert load(top).train.images.max() == 200
    for file in top.rglob("*.bmp"):
        file.write_bytes(image(90))
    same_times(top)
    assert load(top).train.images.unique().tolist() == [0, 90]


def test_a_path_through_a_link_finds_the_same_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = write(tmp_path / "tree", {"": "RGB"})
    expected = load(top)
    (tmp_path / "link").symlink_to(top)
    with zipfile.ZipFile(tmp_path / "tree.zip", "w") as archive:
        for file in sorted(top.rglob("*.bmp")):
            archive.write(file, file.relative_to(top))
    load(tmp_path / "tree.zip")

    def decoded_again(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(decode, "_decode_one", decoded_again)
    monkeypatch.chdir(tmp_path)
    for path in ("link", "tree", "tree.zip"):
        assert torch.equal(load(Path(path)).train.images, expected.train.images)


@pytest.mark.parametrize(
    ("link", "to"), [("cat/self", "."), ("cat/up", ".."), ("cat/a/b/up", "../..")]
)
def test_a_folder_that_contains_itself_is_refused(tmp_path: Path, link: str, to: str) -> None:
    top = write(tmp_path / "tree", {"": "RGB"})
    (top / link).parent.mkdir(parents=True, exist_ok=True)
    (top / link).symlink_to(to)
    words = refused(top)
    held = (top / link).resolve()
    assert words == f"{top / link} must not contain itself, but is a link to {held}"


def test_links_to_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", {"": "RGB"})
    top = write(tmp_path / "tree", {"": "RGB"})
    (top / "emu").symlink_to(elsewhere / "dog")
    (top / "cat" / "more").symlink_to(elsewhere / "cat")
    (top / "cat" / "again").symlink_to("../../elsewhere/cat")  # twice, but not within itself
    data = load(top)
    assert data.classes == ("cat", "dog", "emu")
    parts = data.train, data.validation, data.test()
    counts = sum(torch.bincount(part.labels, minlength=3) for part in parts)
    assert torch.as_tensor(counts).tolist() == [18, 6, 6]


@pytest.mark.parametrize("name", ["cat/9.bmp", "emu"])
def test_broken_links_are_refused(tmp_path: Path, name: str) -> None:
    top = write(tmp_path / "tree", {"": "RGB"})
    (top / name).symlink_to(tmp_path / "nothing")
    words = refused(top)
    assert words.startswith(f"{top / name} must ") and "is a broken link" in words


def test_pipes_and_folders_without_a_right_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = write(tmp_path / "tree", {"": "RGB"})
    os.mkfifo(top / "cat" / "9.bmp")
    assert "9.bmp must be an image file, but is a folder, a pipe or a device" in refused(top)
    (top / "cat" / "9.bmp").unlink()
    scandir = os.scandir

    def denied(folder: str) -> object:
        if Path(folder).name == "dog":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", denied)
    assert refused(top) == f"{top / 'dog'} must be a folder that can be read: Permission denied"


@pytest.mark.parametrize("split", ["test", "val"])
def test_an_unknown_class_is_refused_before_any_image_is_read(tmp_path: Path, split: str) -> None:
    top = write(tmp_path / "tree", {"train": "RGB", split: "RGB"})
    (top / "train" / "cat" / "0.bmp").write_bytes(b"damaged")
    (top / split / "emu").mkdir()
    (top / split / "emu" / "0.bmp").write_bytes(image(0))
    words = refused(top)
    assert words.startswith(f"{top / split / 'emu' / '0.bmp'} must be of a class of the train")
    assert words.endswith("but 'emu' is none of cat, dog")
    (top / split / "emu" / "0.bmp").rename(top / split / "0.bmp")
    (top / split / "emu").rmdir()
    assert refused(top) == f"{top / split / '0.bmp'} must lie in the folder of its class"


def test_test_images_are_still_read_late(tmp_path: Path) -> None:
    top = write(tmp_path / "tree", {"train": "RGB", "test": "RGB"})
    (top / "test" / "cat" / "0.bmp").write_bytes(b"damaged")
    data = load(top)
    with pytest.raises(InputError, match=r"test/cat/0\.bmp must be a readable image"):
        data.test()


def test_grey_images_of_another_split_are_repeated(tmp_path: Path) -> None:
    top = write(tmp_path / "tree", {"train": "RGB", "val": "L", "test": "L"})
    data = load(top)
    for part in (data.validation, data.test()):
        assert part.image_shape == (3, 6, 6)
        assert torch.equal(part.images, part.images[:, :1].expand(-1, 3, -1, -1))
        grey = np.asarray(Image.open(top / "val" / "dog" / "0.bmp"))[0, 0]
        assert part.images[part.labels == 1].unique().tolist() == [grey]


@pytest.mark.parametrize("split", ["test", "val"])
def test_colour_beside_grey_train_images_is_refused(tmp_path: Path, split: str) -> None:
    top = write(tmp_path / "tree", {"train": "L", split: "L"})
    (top / split / "dog" / "3.bmp").write_bytes(image(9))
    with pytest.raises(InputError) as caught:
        load(top).test()
    assert str(caught.value) == (
        f"{top / split / 'dog' / '3.bmp'} must be grey, as all train images "
        f"({top / 'train' / 'cat' / '0.bmp'}, ...) are, but is in colour"
    )


def test_what_a_mac_packs_beside_the_files_is_skipped(tmp_path: Path) -> None:
    top = write(tmp_path / "tree", {"": "RGB"})
    for folder in ("__MACOSX/cat", "cat/__MACOSX"):
        (top / folder).mkdir(parents=True)
        (top / folder / "._0.bmp").write_bytes(b"not an image")
    data = load(top)
    assert data.classes == ("cat", "dog")
    assert len(data.train) + len(data.validation) + len(data.test()) == 12


def archive(path: Path, method: int) -> bytearray:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name in ("cat", "dog"):
            for number in range(4):
                packed.writestr(f"{name}/{number}.bmp", image(number))
    return bytearray(path.read_bytes())


def counts(data: Data) -> list[int]:
    """Images of each class in all three splits."""
    parts = (data.train, data.validation, data.test())
    minlength = len(data.classes)
    return (
        torch.stack([torch.bincount(p.labels, minlength=minlength) for p in parts]).sum(0).tolist()
    )


@pytest.mark.parametrize("before", ["./", "/", "top/./", "././top/"])
def test_dots_and_slashes_in_an_archive_are_no_folders(tmp_path: Path, before: str) -> None:
    path = tmp_path / "tree.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name in ("cat", "dog"):
            for number in range(4):
                packed.writestr(f"{before}{name}/{number}.bmp", image(number))
        packed.writestr("./.hidden/0.bmp", image(0))
        packed.writestr("../emu/0.bmp", image(0))
    data = load(path)
    assert data.classes == ("cat", "dog") and counts(data) == [4, 4]


def test_of_equal_names_in_an_archive_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "tree.zip"
    archive(path, zipfile.ZIP_STORED)
    with zipfile.ZipFile(path, "a") as packed, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the duplicates
        for number in range(4):
            packed.writestr(f"cat/{number}.bmp", image(100 + number))
        packed.writestr("./dog/0.bmp", image(200))
    data = load(path)
    assert counts(data) == [4, 4]
    every = torch.cat([part.images for part in (data.train, data.validation, data.test())])
    labels = torch.cat([part.labels for part in (data.train, data.validation, data.test())])
    levels = every[:, 0, 0, 0]
    assert sorted(levels[labels == 0].tolist()) == [100, 101, 102, 103]
    assert sorted(levels[labels == 1].tolist()) == [1, 2, 3, 200]


def test_backslashes_of_old_windows_archives_part_folders(tmp_path: Path) -> None:
    def write(system: int, name: str) -> Path:
        path = tmp_path / f"{system}.zip"
        with zipfile.ZipFile(path, "w") as packed:
            for number in range(4):
                for animal in ("cat", "dog"):
                    info = zipfile.ZipInfo(name.format(animal, number))
                    info.create_system = system
                    packed.writestr(info, image(number))
        return path

    data = load(write(0, "top\\{}\\{}.bmp"))
    assert data.classes == ("cat", "dog") and counts(data) == [4, 4]
    # elsewhere they are letters of a name
    assert load(write(3, "a\\{}/{}.bmp")).classes == ("a\\cat", "a\\dog")


def test_an_archive_of_an_unknown_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tree.zip"
    content = archive(path, zipfile.ZIP_STORED)
    content[content.index(b"PK\1\2") + 6] = 169  # the version that is needed to extract the first
    path.write_bytes(content)
    assert refused(path) == f"{path} must be a folder or a readable .zip: zip file version 16.9"


def test_damage_in_an_lzma_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tree.zip"
    content = archive(path, zipfile.ZIP_LZMA)
    start = content.index(b"cat/0.bmp") + len(b"cat/0.bmp") + 9  # after the header of LZMA
    content[start : start + 20] = b"\xff" * 20
    path.write_bytes(content)
    assert refused(path) == f"{path}/cat/0.bmp must be readable: Corrupt input data"


def test_a_damaged_avif_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = write(tmp_path / "tree", {"": "RGB"})

    def damaged(*_: object) -> None:  # what Pillow's decoder of AVIF raises
        raise RuntimeError("Failed to decode image: Missing or empty image item")

    monkeypatch.setattr(Image, "open", damaged)
    assert "cat/0.bmp must be a readable image: Failed to decode image: Missing" in refused(top)


def test_any_failure_of_a_reader_of_images_is_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = write(tmp_path / "tree", {"": "RGB"})
    content = bytearray(image(0, "L", "TIFF"))
    place = content.index(b"\x11\x01\x04\x00")  # where the pixels begin, a number ...
    content[place + 2] = 2  # ... or a text
    (top / "cat" / "0.bmp").write_bytes(content)
    assert "cat/0.bmp must be a readable image: 'str' object cannot be interpr" in refused(top)

    def damaged(*_: object) -> None:  # what Pillow's reader of SPIDER raises
        raise AttributeError("'SpiderImageFile' object has no attribute 'stkoffset'")

    monkeypatch.setattr(Image, "open", damaged)
    assert "cat/0.bmp must be a readable image: 'SpiderImageFile' object has" in refused(top)
