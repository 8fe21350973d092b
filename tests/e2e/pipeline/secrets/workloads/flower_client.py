"""A ClientApp that fails as it is asked to."""

import numpy as np
from flwr.app import Array, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from .plants import NUMBER, ROUND, fail_as, say, word

app = ClientApp()


@app.train()
@app.evaluate()
@app.query()
def answer(message, context):
    does = message.content["config"]["does"]
    fail_as(does, "flower client")
    if does == "error":
        return Message(Error(1000, word("flower error's reason")), reply_to=message)
    if does == "object":
        return word("flower client's object")
    if does == "well":
        say("flower client")
    context.state[word("flower state")] = MetricRecord({word("flower kept"): float(NUMBER)})
    metrics = {"num-examples": ROUND, word("flower client's metric"): float(NUMBER)}
    content = {"arrays": message.content["arrays"], "metrics": MetricRecord(metrics)}
    if does == "name":
        content["arrays"][word("flower refused tensor")] = Array(np.ones(1))
    if does == "body":
        content[word("flower large record")] = MetricRecord({"m": [float(NUMBER)] * 3_000_000})
    return Message(RecordDict(content), reply_to=message)
