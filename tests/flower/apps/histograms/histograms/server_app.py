"""Asks twice: everybody, and then one site alone."""

import json
from pathlib import Path

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    config = ConfigRecord({"bins": context.run_config["bins"]})
    content = RecordDict({"config": config})
    nodes = list(grid.get_node_ids())
    everybody = [Message(content, node, "query") for node in nodes]
    replies = list(grid.send_and_receive(everybody, timeout=60))
    replies += grid.send_and_receive([Message(content, nodes[-1], "query")])
    counts = [reply.content["histogram"]["counts"] for reply in replies]
    story = {
        "counts": np.sum(counts, axis=0).tolist(),
        "means": [reply.content["histogram"]["mean"] for reply in replies],
    }
    Path("story.json").write_text(json.dumps(story))
