"""A histogram of this site's numbers."""

import numpy as np
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query()
def query(message, context):
    numbers = np.random.default_rng(context.node_config["partition-id"]).normal(size=500)
    counts, edges = np.histogram(numbers, bins=message.content["config"]["bins"], range=(-4, 4))
    record = MetricRecord(
        {"counts": counts.tolist(), "edges": edges.tolist(), "mean": float(numbers.mean())}
    )
    return Message(RecordDict({"histogram": record}), reply_to=message)
