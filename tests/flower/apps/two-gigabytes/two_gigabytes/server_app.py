"""Sends the array to all, then asks one site for its own."""

import json
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

from two_gigabytes.client_app import checksum

app = ServerApp()


@app.main()
def main(grid, context):
    floats = int(context.run_config["floats"])
    sites = sorted(grid.get_node_ids())
    content = RecordDict({"arrays": ArrayRecord({"w": Array(np.arange(floats, dtype="f4"))})})
    down = grid.send_and_receive([Message(content, site, "query.down") for site in sites])
    sums = [reply.content["metrics"]["checksum"] for reply in down]
    del content

    question = RecordDict({"config": ConfigRecord({"floats": floats})})
    (reply,) = grid.send_and_receive([Message(question, sites[0], "query.up")])
    array = reply.content["arrays"]["w"].numpy()
    found = {"down": sums, "up": checksum(array), "bytes": array.nbytes}
    Path("found.json").write_text(json.dumps(found))
