"""What libraries without arrays do: the serialised model goes around."""

from pathlib import Path

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    model = b""
    for number in range(context.run_config["laps"]):
        for node in grid.get_node_ids():
            record = ConfigRecord({"model": model, "server-round": number + 1})
            message = Message(RecordDict({"config": record}), node, "train")
            (reply,) = grid.send_and_receive([message])
            model = reply.content["model"]["bytes"]
    Path("model.bin").write_bytes(model)
