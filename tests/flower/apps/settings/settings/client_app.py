"""Says which settings it has."""

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query()
def query(message, context):
    seen = {
        "run": sorted(map(repr, context.run_config.items())),
        "node": sorted(map(repr, context.node_config.items())),
    }
    return Message(RecordDict({"seen": ConfigRecord(seen)}), reply_to=message)
