"""Writes down what each site remembers after each round."""

import json
from pathlib import Path

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    story = []
    for number in range(1, context.run_config["rounds"] + 1):
        content = RecordDict({"config": ConfigRecord({"server-round": number})})
        messages = [Message(content, node, "train") for node in grid.get_node_ids()]
        for reply in grid.send_and_receive(messages):
            error = reply.has_error()
            story.append([reply.error.code] if error else dict(reply.content["seen"]))
    Path("story.json").write_text(json.dumps(story, indent=1, sort_keys=True))
