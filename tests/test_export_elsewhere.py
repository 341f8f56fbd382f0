"""Written files run where there is no hwn2n, on any batch, and say what the student says."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_tools import tree
from networks import Mixed, images, seeded

import hwn2n as package
from hwn2n.exporting.formats import FORMATS
from hwn2n.network.files import Teacher

SHAPE = (3, 8, 8)
SAID = {"classes": tuple("abcde"), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), "data": "toys"}

WITHOUT_HWN2N = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("hwn2n", "networks"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocker())
sys.path.insert(0, sys.argv[1])
import onnxruntime
import torch
from pathlib import Path

def run_torch_export(path, given):
    network = torch.export.load(path).module()
    return [network(batch) for batch in given]

def run_onnx(path, given):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = [session.run(None, {"images": batch.numpy()})[0] for batch in given]
    return [torch.from_numpy(logits) for logits in found]

def run_python(path, given):
    student = __import__(path.stem)
    assert student.CLASSES == tuple("abcde") and student.STD == (0.2, 0.3, 0.4)
    network = student.load()
    with torch.no_grad():
        return [network(batch) for batch in given]

RUNS = {".pt2": run_torch_export, ".onnx": run_onnx, ".py": run_python}
folder = Path(sys.argv[1])
images = torch.load(folder / "images.pt")
logits = {}
for name in sys.argv[2:]:
    dtype = torch.float16 if "fp16" in name else torch.float32
    found = RUNS[Path(name).suffix](folder / name, [batch.to(dtype) for batch in images])
    logits[name] = [batch.float() for batch in found]
torch.save(logits, folder / "logits.pt")
assert not any(name.partition(".")[0] == "hwn2n" for name in sys.modules)
"""


def mixed_teacher():
    return Teacher(model=seeded(Mixed), input_shape=SHAPE, source="mixed", **SAID)


GIVEN = [images(SHAPE, count, seed=count) for count in (1, 4, 7)]
CASES = [
    (to, precision) for to in ("torch-export", "onnx", "python") for precision in ("fp32", "fp16")
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """All formats in both precisions, and the logits that they give without hwn2n."""
    folder = tmp_path_factory.mktemp("exported")
    found = {}
    for to, precision in CASES:
        out = folder / f"student_{precision}{FORMATS[to].suffix}"
        found[out.name] = package.export(mixed_teacher(), to=to, out=out, precision=precision)
    assert tree(folder) == {Path(file) for one in found.values() for file in one.files}
    torch.save(GIVEN, folder / "images.pt")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HWN2N, str(folder), *found],
        capture_output=True, text=True, cwd=folder, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return found, torch.load(folder / "logits.pt")


@pytest.mark.parametrize(("to", "precision"), CASES)
def test_files_run_where_there_is_no_hwn2n(to, precision, exported):
    name = f"student_{precision}{FORMATS[to].suffix}"
    found, logits = exported[0][name], exported[1][name]
    with torch.no_grad():
        wanted = [mixed_teacher().model(batch) for batch in GIVEN]
    allowed = {"fp32": 1e-4, "fp16": 2e-2}[precision]
    for mine, theirs in zip(wanted, logits, strict=True):
        assert (mine - theirs).abs().max() < allowed * max(1.0, float(mine.abs().max()))
    assert found.random.images == 8 and found.random.agreement > 0.8
    assert found.real is None and "no data was named" in found.note
