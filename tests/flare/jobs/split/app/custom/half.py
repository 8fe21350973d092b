"""One half of a model: site-1 has the features and the lower part, site-2 the labels."""

import numpy as np
from arithmetic import FEATURES, LABELS, loss, lower_step, upward
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import make_reply
from nvflare.app_common.abstract.learner_spec import Learner
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.workflows.splitnn_workflow import SplitNNConstants

_SECONDS = 20.0


class Half(Learner):
    def initialize(self, parts, fl_ctx):
        self._engine = fl_ctx.get_engine()
        self._told = {}
        if fl_ctx.get_identity_name() == "site-2":
            self._engine.register_aux_message_handler(
                topic=SplitNNConstants.TASK_TRAIN_LABEL_STEP, message_handle_func=self._label_step
            )

    def init_model(self, shareable, fl_ctx, abort_signal):
        self._weights = from_shareable(shareable).data["numpy_key"]
        return make_reply(ReturnCode.OK)

    def train(self, shareable, fl_ctx, abort_signal):
        if fl_ctx.get_identity_name() == "site-1":
            for _ in range(shareable.get_header(AppConstants.NUM_ROUNDS)):
                activations = DXO(DataKind.WEIGHTS, {"a": upward(FEATURES, self._weights)})
                replies = self._engine.send_aux_request(
                    targets=["site-2"], topic=SplitNNConstants.TASK_TRAIN_LABEL_STEP,
                    request=activations.to_shareable(), timeout=_SECONDS, fl_ctx=fl_ctx,
                )  # fmt: skip
                answer = from_shareable(replies["site-2"]).data
                self._weights = lower_step(FEATURES, self._weights, answer["gradient"])
                self._told["loss"] = float(answer["loss"])
        return DXO(DataKind.METRICS, self._told).to_shareable()

    def _label_step(self, topic, request, fl_ctx):
        value, gradient = loss(from_shareable(request).data["a"], LABELS)
        answer = {"gradient": gradient, "loss": np.float64(value)}
        return DXO(DataKind.WEIGHTS, answer).to_shareable()
