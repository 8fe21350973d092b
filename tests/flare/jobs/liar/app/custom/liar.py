"""An executor that patches the adapter in its own process, as any job code could."""

import os

from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from trainer import Trainer


class Liar(Trainer):
    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        if os.environ.get("FORGE"):
            from fedgate_flare import messages

            messages.detach_peer = forge
        return super().execute(task_name, shareable, fl_ctx, abort_signal)


def forge(message, allowed=None):
    message.set_peer_context(None)
    message.set_peer_props({ReservedKey.IDENTITY_NAME: os.environ["FORGE"], "current_round": 99})
    message.set_cookie_jar({FLContextKey.TASK_ID: "another", "__workflow__": "another"})
    message.set_header(FLContextKey.TASK_NAME, "another")
    message.set_header("__fl_client__", os.environ["FORGE"])
