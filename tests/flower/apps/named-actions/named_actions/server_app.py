"""No strategy at all: the loop, the waiting and the aggregation are the app's own."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


def exchange(grid, nodes, kind, content):
    """Replies in the order of the nodes."""
    messages = [Message(content, node, kind, group_id="hand-made") for node in nodes]
    ids = list(grid.push_messages(messages))
    replies = []
    while len(replies) < len(ids):
        replies += grid.pull_messages(ids)
        time.sleep(0.005)
    by_node = {reply.metadata.src_node_id: reply for reply in replies}
    assert all(reply.metadata.group_id == "hand-made" for reply in replies)
    return [by_node[node] for node in nodes]


def told(reply):
    if reply.has_error():
        return {"error": reply.error.code}
    return {name: dict(record) for name, record in reply.content.metric_records.items()}


@app.main()
def main(grid, context):
    nodes = list(grid.get_node_ids())
    story = {}
    weights = np.zeros((2, 2))
    for number in range(context.run_config["rounds"]):
        for action in ("warmup", "finish"):
            content = RecordDict(
                {
                    "model": ArrayRecord({"w": Array(weights)}),
                    "config": ConfigRecord({"server-round": number + 1}),
                }
            )
            replies = exchange(grid, nodes, f"train.{action}", content)
            weights = np.mean([r.content["model"]["w"].numpy() for r in replies], axis=0)
    np.savez("final.npz", w=weights)
    empty = RecordDict({"config": ConfigRecord({"numbers": [1, 2, 3]})})
    for kind in (
        "query",
        "query.count",
        "query.refuse",
        "query.raise",
        "evaluate",
        "query.unknown",
    ):
        story[kind] = [told(reply) for reply in exchange(grid, nodes, kind, empty)]

    def ask(node):
        message = Message(empty, node, "query.count")
        return told(next(iter(grid.send_and_receive([message], timeout=30))))

    with ThreadPoolExecutor(8) as pool:
        story["threads"] = list(pool.map(ask, nodes * 8))
    Path("story.json").write_text(json.dumps(story, indent=1, sort_keys=True))
