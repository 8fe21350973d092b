"""Sends all there is to send, and writes down the digests of what comes back."""

import hashlib
import json
from pathlib import Path

import ml_dtypes
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()
#: The last one is a datetime, which does not come from a float.
DTYPES = [*"?bBhHiIqQefdFD", "S5", "U3", ">f4", "<M8[s]"]


def arrays():
    rng = np.random.default_rng(2)
    made = {f"dtype {code}": (rng.random((3, 4)) * 9).astype(code) for code in DTYPES[:-1]}
    made[DTYPES[-1]] = np.arange(3).astype("<M8[s]")
    made |= {
        "0-d": np.array(2.5, dtype=np.float32),
        "0-d integer": np.array(7),
        "zero-size": np.zeros((0, 5), dtype=np.float32),
        "zero-size middle": np.zeros((2, 0, 3)),
        "fortran": np.asfortranarray(rng.random((3, 5))),
        "strided": rng.random((6, 6))[::2, ::3],
        "bfloat16": rng.random((4, 2)).astype(ml_dtypes.bfloat16),
        "float8": rng.random(5).astype(ml_dtypes.float8_e4m3fn),
        "struct": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        "naïve/ключ %25": np.ones(1),
        "not finite": np.array([np.nan, -np.inf, -0.0]),
    }
    return made


def digest(record):
    parts = [(k, a.dtype, list(a.shape), a.stype, a.data) for k, a in record.items()]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@app.main()
def main(grid, context):
    own = ArrayRecord({k: Array(a) for k, a in arrays().items()})
    own["of another library"] = Array("whatever", (3,), "library.tensor", b"\x00\x01raw bytes")
    content = RecordDict(
        {
            "everything": own,
            "more": ArrayRecord({"w": Array(np.arange(4.0))}),
            "empty": ArrayRecord(),
            "metrics": MetricRecord(
                {"int": -(2**62), "float": 1e-300, "list": [0.1, 0.2], "n": [1]}
            ),
            "config": ConfigRecord(
                {
                    "bytes": b"\x00\xff" * 50,
                    "bytes list": [b"", b"a"],
                    "bool": True,
                    "bools": [True, False],
                    "text": "ö\n",
                    "texts": ["", "x"],
                    "none of it": [],
                    "float": 0.1,
                    "integer": 2**63 - 1,
                }
            ),
        }
    )
    story = {"sent": digest(own)}
    for number in range(context.run_config["times"]):
        messages = [Message(content, node, "query") for node in grid.get_node_ids()]
        for site, reply in enumerate(grid.send_and_receive(messages)):
            assert list(reply.content) == ["seen", *content], list(reply.content)
            assert reply.content["everything"] == own
            assert reply.content["config"] == content["config"]
            assert reply.content["metrics"] == content["metrics"]
            for name, array in arrays().items():
                back = reply.content["everything"][name].numpy()
                assert back.tobytes() == Array(array).numpy().tobytes(), name
                assert back.dtype == Array(array).numpy().dtype, name
            story[f"{number} {site}"] = dict(reply.content["seen"])
    Path("story.json").write_text(json.dumps(story, indent=1, sort_keys=True))
