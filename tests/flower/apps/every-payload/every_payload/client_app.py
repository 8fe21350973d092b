"""Says what it saw, and sends everything back."""

import hashlib

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query()
def query(message, context):
    record = message.content["everything"]
    parts = [(k, a.dtype, list(a.shape), a.stype, a.data) for k, a in record.items()]
    described = [(n, type(r).__name__, list(r)) for n, r in message.content.items()]
    seen = {
        "arrays": hashlib.sha256(repr(parts).encode()).hexdigest(),
        "records": repr(described),
        "values": repr(sorted(message.content["config"].items(), key=str)),
        "metrics": repr(list(message.content["metrics"].items())),
    }
    content = RecordDict({"seen": ConfigRecord(seen), **dict(message.content.items())})
    return Message(content, reply_to=message)
