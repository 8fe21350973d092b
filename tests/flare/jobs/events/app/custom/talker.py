"""Sends a federated event before each result."""

from nvflare.apis.shareable import Shareable
from trainer import Trainer


class Talker(Trainer):
    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        self.fire_fed_event("test.talk", Shareable({"text": "hello"}), fl_ctx)
        return super().execute(task_name, shareable, fl_ctx, abort_signal)
