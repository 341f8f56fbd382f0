"""A stand-in for the Python package `tensorrt`, as far as hwn2n calls it.

Its engine is the ONNX file, which ONNX Runtime runs on the memory whose addresses it was given. So
the order of calls, the names, the shapes and the addresses must all be right for the logits to be.
"""

import ctypes
from enum import Enum, IntEnum
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import numpy as np


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class DataType(Enum):
    FLOAT = np.float32
    HALF = np.float16
    BF16 = "bfloat16"


class ILogger:
    Severity = Severity


def make(*, parses: bool = True, builds: bool = True, version: str = "10.3.0", wrong: bool = False):
    """A module of that name; `calls` is what was called on it, in order."""
    calls: list[str] = []

    class Network:
        content = b""

    class Builder:
        def __init__(self, log):
            calls.append("Builder")
            self.log = log

        def create_network(self, flags):
            calls.append(f"create_network({flags})")
            return Network()

        def create_builder_config(self):
            calls.append("create_builder_config")
            return object()

        def build_serialized_network(self, network, config):
            calls.append("build_serialized_network")
            self.log.log(Severity.WARNING, "this takes a while")
            if not builds:
                self.log.log(Severity.ERROR, "could not find any\nimplementation for node conv1")
                return None
            return bytearray(network.content)

    class OnnxParser:
        num_errors = 1

        def __init__(self, network, log):
            calls.append("OnnxParser")
            self.network = network

        def parse(self, content):
            calls.append("parse")
            self.network.content = content
            return parses

        def get_error(self, index):
            return SimpleNamespace(desc=lambda: "no importer registered for op: Wonder")

    class Runtime:
        def __init__(self, log):
            calls.append("Runtime")

        def deserialize_cuda_engine(self, plan):
            calls.append("deserialize_cuda_engine")
            return Engine(plan)

    class Engine:
        num_io_tensors = 2

        def __init__(self, plan):
            import onnxruntime

            self.session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
            ends = [*self.session.get_inputs(), *self.session.get_outputs()]
            self.tensors = {end.name: end for end in ends}

        def get_tensor_name(self, index):
            return list(self.tensors)[index]

        def get_tensor_shape(self, name):
            return self.tensors[name].shape

        def get_tensor_dtype(self, name):
            half = "float16" in self.tensors[name].type
            return DataType.HALF if half else DataType.FLOAT

        def create_execution_context(self):
            calls.append("create_execution_context")
            return Context(self)

    class Context:
        def __init__(self, engine):
            self.engine = engine
            self.addresses = {}

        def set_tensor_address(self, name, address):
            calls.append(f"set_tensor_address({name})")
            self.addresses[name] = address
            return True

        def memory(self, name):
            shape = self.engine.get_tensor_shape(name)
            kind = np.dtype(self.engine.get_tensor_dtype(name).value)
            size = int(np.prod(shape)) * kind.itemsize
            raw = (ctypes.c_char * size).from_address(self.addresses[name])
            return np.frombuffer(raw, kind).reshape(shape)

        def execute_async_v3(self, stream):
            calls.append(f"execute_async_v3({stream})")
            (logits,) = self.engine.session.run(None, {"images": self.memory("images")})
            self.memory("logits")[:] = logits * 2 if wrong else logits
            return True

    flags = {"STRONGLY_TYPED": 1} if not version.startswith("8") else {"EXPLICIT_BATCH": 0}
    return Module(
        calls=calls,
        __spec__=ModuleSpec("tensorrt", None),
        __version__=version,
        ILogger=ILogger,
        DataType=DataType,
        NetworkDefinitionCreationFlag=IntEnum("NetworkDefinitionCreationFlag", flags),
        Builder=Builder,
        OnnxParser=OnnxParser,
        Runtime=Runtime,
    )


class Module(SimpleNamespace):
    """Hashed by identity, as modules are."""

    __hash__ = object.__hash__
