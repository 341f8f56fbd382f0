"""Teacher files: every format a trained network comes in, read without running its code.

| format                                   | needs          | module         |
|------------------------------------------|----------------|----------------|
| hwn2n's own file, plain state dict (.pt) | `arch` (plain) | `own`          |
| safetensors state dict                   | `arch`         | `tensors`      |
| safetensors of a student of hwn2n's      | nothing        | `stored`       |
| `torch.export.save` (.pt2)               | nothing        | `exported`     |
| whole pickled module                     | `unsafe_pickle`| `pickled`      |

The format is told from the content of the file (`detect`), never from its suffix.
"""

from hwn2n.network.files.load import load_teacher
from hwn2n.network.files.own import save_teacher
from hwn2n.network.files.teacher import Teacher

__all__ = ["Teacher", "load_teacher", "save_teacher"]
