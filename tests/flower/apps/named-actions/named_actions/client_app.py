"""Several functions of each kind, told apart by their names."""

from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


def trained(message, factor, offset):
    array = message.content["model"]["w"].numpy() * factor + offset
    content = RecordDict({"model": ArrayRecord({"w": Array(array)})})
    return Message(content, reply_to=message)


def measured(message, **values):
    return Message(RecordDict({"answer": MetricRecord(values)}), reply_to=message)


@app.train("warmup")
def warmup(message, context):
    return trained(message, 1.0, 1.0 + context.node_config["partition-id"])


@app.train("finish")
def finish(message, context):
    return trained(message, 1.0 / 3.0, 0.1)


@app.query()
def query(message, context):
    return measured(message, partition=context.node_config["partition-id"])


@app.query("count")
def count(message, context):
    return measured(message, total=sum(message.content["config"]["numbers"]))


@app.query("refuse")
def refuse(message, context):
    return Message(Error(code=1234, reason="not with me"), reply_to=message)


@app.query("raise")
def fail(message, context):
    raise RuntimeError("as announced")


@app.evaluate()
def evaluate(message, context):
    return measured(message, loss=0.25, partition=context.node_config["partition-id"])
