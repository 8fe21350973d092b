"""A Flower app in one process, on stock flwr: what parity is measured against.

    python reference_driver.py APP_DIR JSON

JSON: ``{"settings": [{...}, ...], "config": {...}}``, one entry of settings for each site. The
working directory gets whatever the ServerApp writes. Nothing of Fedgate is imported.
"""

import json
import os
import sys
from pathlib import Path

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.config import get_fused_config_from_dir, get_project_config
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import (
    context_from_proto,
    context_to_proto,
    message_from_proto,
    message_to_proto,
)
from flwr.serverapp import Grid
from flwr.supercore.object_ref import load_app
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

RUN_ID = 4711


def copied(message):
    """Through Flower's own wire format, so that nobody shares memory."""
    return message_from_proto(message_to_proto(message))


class Site:
    def __init__(self, app, node_id, node_config, run_config):
        self.app = app
        context = Context(RUN_ID, node_id, node_config, RecordDict(), run_config)
        self.context = context_to_proto(context)

    def handle(self, message):
        context = context_from_proto(self.context)
        try:
            return self.app(message=message, context=context)
        except Exception as error:
            code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
            return Message(Error(code, repr(error)), reply_to=message)
        finally:
            self.context = context_to_proto(context)


class InProcessGrid(Grid):
    def __init__(self, sites):
        self.sites, self.inbox, self.sent = sites, {}, 0

    def set_run(self, run): ...

    @property
    def run(self):
        return Run.create_empty(RUN_ID)

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None):
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self):
        return list(self.sites)

    def push_messages(self, messages):
        ids = []
        for message in messages:
            self.sent += 1
            message.metadata.__dict__["_message_id"] = str(self.sent)
            reply = copied(self.sites[message.metadata.dst_node_id].handle(copied(message)))
            self.inbox[str(self.sent)] = reply
            ids.append(str(self.sent))
        return ids

    def pull_messages(self, message_ids):
        return [self.inbox.pop(i) for i in list(message_ids) if i in self.inbox]

    def send_and_receive(self, messages, *, timeout=None):
        return self.pull_messages(self.push_messages(messages))


def main():
    root, given = Path(sys.argv[1]).absolute(), json.loads(sys.argv[2])
    components = get_project_config(root)["tool"]["flwr"]["app"]["components"]
    run_config = get_fused_config_from_dir(root, given["config"])
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, SUPERLINK_NODE_ID, 1
    server = load_app(components["serverapp"], ImportError, root)
    client = load_app(components["clientapp"], ImportError, root)
    count = len(given["settings"])
    sites = {}
    for index, settings in enumerate(given["settings"]):
        node_config = {"partition-id": index, "num-partitions": count, **settings}
        sites[10**9 + index] = Site(client, 10**9 + index, node_config, dict(run_config))
    context = Context(RUN_ID, SUPERLINK_NODE_ID, {}, RecordDict(), dict(run_config))
    server(grid=InProcessGrid(sites), context=context)


if __name__ == "__main__":
    main()
