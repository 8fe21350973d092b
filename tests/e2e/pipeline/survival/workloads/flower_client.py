"""As Flower's own quickstart, without a data set."""

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from survivor.arithmetic import update, wait

app = ClientApp()


@app.train()
def train(message, context):
    wait(context.run_config["hold"], context.run_config["pause"])
    (weights,) = message.content["arrays"].to_numpy_ndarrays()
    site = int(context.node_config["partition-id"]) + 1
    content = {
        "arrays": ArrayRecord([update(weights, site)]),
        "metrics": MetricRecord({"num-examples": 1}),
    }
    return Message(RecordDict(content), reply_to=message)
