"""Says what arrived, and sends as much back."""

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


def checksum(array: np.ndarray) -> float:
    return float(array[::997].astype("f8").sum())


@app.query("down")
def down(message, context):
    array = message.content["arrays"]["w"].numpy()
    metrics = MetricRecord({"checksum": checksum(array)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


@app.query("up")
def up(message, context):
    array = np.arange(message.content["config"]["floats"], dtype="f4")
    return Message(RecordDict({"arrays": ArrayRecord({"w": Array(array)})}), reply_to=message)
