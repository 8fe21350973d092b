"""An executor that patches the adapter in its own process, as any job code could."""

import os

from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from trainer import Trainer


class Liar(Trainer):
    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        if os.environ.get("FORGE"):
            from fedgate_flare import messages

            messages.detach_peer = globals()[os.environ["FORGE"]]
        return super().execute(task_name, shareable, fl_ctx, abort_signal)


def name_of_another(message, allowed=None):
    message.set_peer_context(None)
    message.set_peer_props({ReservedKey.IDENTITY_NAME: "site-2", "current_round": 99})
    message.set_cookie_jar({FLContextKey.TASK_ID: "another", "__workflow__": "another"})
    message.set_header(FLContextKey.TASK_NAME, "another")
    message.set_header("__fl_client__", "site-2")


def code_that_is_none(message, allowed=None):
    message.set_peer_context(None)
    message.set_return_code([])


def properties_that_are_none(message, allowed=None):
    message.set_peer_context(None)
    message.set_peer_props({"current_round": {"deep": [1]}, 7: 7})


def weights_that_are_none(message, allowed=None):
    message.set_peer_context(None)
    message["DXO"] = {"kind": 17, "data": [None], "meta": "x"}


def headers_that_are_none(message, allowed=None):
    message.clear()
    message["__headers__"] = [1, 2, 3]
