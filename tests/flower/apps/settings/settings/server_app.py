"""Writes down the settings that both sides see, with their types."""

import json
from pathlib import Path

from flwr.app import Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    messages = [Message(RecordDict(), node, "query") for node in grid.get_node_ids()]
    seen = [dict(reply.content["seen"]) for reply in grid.send_and_receive(messages)]
    mine = sorted(map(repr, context.run_config.items()))
    story = {"server": mine, "node": dict(context.node_config), "clients": seen}
    Path("story.json").write_text(json.dumps(story, indent=1, sort_keys=True))
