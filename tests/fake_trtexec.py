"""A stand-in for TensorRT's program trtexec: its options, its files and its JSON.

What it "builds" is the ONNX file, which it runs with ONNX Runtime, so that its logits are real.
FAKE_TRTEXEC names the version that it plays ("10", "11", "8") or the way in which it fails;
FAKE_TRTEXEC_LOG is a file to which it appends the arguments of each call.
"""

import json
import os
import sys
from pathlib import Path

COMMON = {
    "--onnx", "--saveEngine", "--loadEngine", "--skipInference", "--loadInputs", "--warmUp",
    "--duration", "--iterations", "--exposeDMA", "--exportTimes", "--exportOutput", "--device",
    "--help", "--useCudaGraph",
}  # fmt: skip
OPTIONS = {
    "8": COMMON | {"--fp16", "--noDataTransfers"},
    "10": COMMON | {"--fp16", "--stronglyTyped", "--noDataTransfers"},
    "11": COMMON | {"--noCudaGraph", "--includeDataTransfers"},
}
MAGIC = b"ENGINE"


def main() -> int:
    mode = os.environ.get("FAKE_TRTEXEC", "10")
    if log := os.environ.get("FAKE_TRTEXEC_LOG"):
        with Path(log).open("a") as file:
            file.write(json.dumps(sys.argv[1:]) + "\n")
    given = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    known = OPTIONS.get(mode, OPTIONS["10"])
    if "--help" in given:
        print("=== Options ===", *sorted(f"  {name}=<what>" for name in known), sep="\n")
        return 0
    if unknown := set(given) - known:
        print(f"[E] Unknown option: {unknown.pop()}")
        return 1
    if "--onnx" in given:
        return build(given, mode)
    return infer(given, mode)


def build(given: dict[str, str], mode: str) -> int:
    if mode == "unsupported":
        print("[I] Start parsing network model.")
        print("[E] In node 3 (parseNode): UNSUPPORTED_NODE: no importer for Wonder")
        print("&&&& FAILED TensorRT.trtexec [TensorRT v100300]")
        return 1
    if mode != "silent":
        Path(given["--saveEngine"]).write_bytes(MAGIC + Path(given["--onnx"]).read_bytes())
    return 0


def infer(given: dict[str, str], mode: str) -> int:
    import numpy as np
    import onnxruntime

    engine = Path(given["--loadEngine"]).read_bytes()
    assert engine.startswith(MAGIC)
    session = onnxruntime.InferenceSession(engine[len(MAGIC) :], providers=["CPUExecutionProvider"])
    name, file = given["--loadInputs"].split(":")
    (wanted,) = session.get_inputs()
    assert wanted.name == name
    kind = np.float16 if "float16" in wanted.type else np.float32
    images = np.fromfile(file, kind).reshape(wanted.shape)
    (logits,) = session.run(None, {name: images})
    if mode == "wrong":
        logits = logits[:, ::-1]
    dimensions = "x".join(str(size) for size in logits.shape)
    values = ", ".join(f"{value:.6g}" for value in logits.ravel())
    Path(given["--exportOutput"]).write_text(
        f'[\n  {{ "name" : "{session.get_outputs()[0].name}"\n  , "dimensions" : "{dimensions}"\n'
        f'  , "values" : [ {values} ]\n  }}\n]\n'
    )
    records = [record(float(at)) for at in range(100, 100 + 2 * int(given["--iterations"]), 2)]
    text = "[\n  " + ", ".join(records) + "]\n"
    Path(given["--exportTimes"]).write_text(text[:-20] if mode == "torn" else text)
    return 0


def record(start: float) -> str:
    """One inference that starts at `start` ms and takes 0.25 + 1.5 + 0.125 ms."""
    at = [start, start + 0.25, start + 1.75, start + 1.875]
    parts = {
        "startEnqMs": start, "endEnqMs": start + 0.0625,
        "startH2dMs": at[0], "endH2dMs": at[1],
        "startComputeMs": at[1], "endComputeMs": at[2],
        "startD2hMs": at[2], "endD2hMs": at[3],
        "h2dMs": 0.25, "computeMs": 1.5, "d2hMs": 0.125, "latencyMs": 1.875,
    }  # fmt: skip
    return "{ " + ", ".join(f'"{key}" : {value}' for key, value in parts.items()) + " }\n"


if __name__ == "__main__":
    sys.exit(main())
