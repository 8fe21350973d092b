"""Accuracy of a released model on the sites' test images put together.

usage: python evaluate.py MODEL.safetensors|MODEL.npy FILE.npz... ; prints one JSON object
"""

import json
import sys
from pathlib import Path

import numpy as np
from pooled import pool
from softmax import SHAPE, accuracy


def read(path):
    if path.endswith(".npy"):
        return np.load(path)
    with Path(path).open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        ((_, entry),) = header.items()
        start = file.tell() + entry["data_offsets"][0]
        file.seek(start)
        dtype = {"F64": np.float64, "F32": np.float32}[entry["dtype"]]
        return np.fromfile(file, dtype, count=int(np.prod(entry["shape"]))).reshape(entry["shape"])


def main():
    weights = read(sys.argv[1])
    if weights.shape != SHAPE:
        sys.exit(f"expected a model of shape {SHAPE}, got {weights.shape}")
    data = pool(sys.argv[2:])
    score = accuracy(weights, data["x_test"], data["y_test"])
    print(json.dumps({"accuracy": round(score, 4), "images": len(data["y_test"])}))


if __name__ == "__main__":
    main()
