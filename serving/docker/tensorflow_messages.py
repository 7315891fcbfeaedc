"""Take the protobuf messages that `tensorflow_serving` needs out of TensorFlow's wheel.

`python tensorflow_messages.py WHEEL FOLDER` writes under 1 MB; TensorFlow itself has over 1 GB.
Without `tensorflow/__init__.py`, what it writes is a namespace package: no runtime is imported.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

FOLDERS = ("tensorflow/core/", "tensorflow/compiler/xla/tsl/protobuf/")


def extract_messages(wheel: Path, folder: Path) -> int:
    """Write the messages of `wheel` under `folder`; return how many files there are."""
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if n.startswith(FOLDERS) and n.endswith("_pb2.py")]
        archive.extractall(folder, names)
    return len(names)


if __name__ == "__main__":
    if not extract_messages(Path(sys.argv[1]), Path(sys.argv[2])):
        sys.exit(f"got no messages in {sys.argv[1]}; needed: TensorFlow's wheel")
