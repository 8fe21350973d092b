"""Adds a kilobyte of its own."""

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    site = context.node_config["partition-id"]
    grown = message.content["config"]["model"] + bytes([site, 0, 255, 10]) * 256
    content = {
        "model": ConfigRecord({"bytes": grown}),
        "metrics": MetricRecord({"num-examples": 1, "size": len(grown)}),
    }
    return Message(RecordDict(content), reply_to=message)
