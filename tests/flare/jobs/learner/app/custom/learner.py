"""A ModelLearner with an array that must not leave the site."""

import zlib

import numpy as np
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.abstract.model_learner import ModelLearner


class Learner(ModelLearner):
    def train(self, model):
        weights = model.params["numpy_key"]
        seed = zlib.crc32(self.site_name.encode()) % 1000
        change = np.cos(weights * seed) / 3
        return FLModel(
            params_type=ParamsType.DIFF,
            params={"numpy_key": change, "secret": np.full(3, 7.0)},
            meta={"NUM_STEPS_CURRENT_ROUND": 7 + seed % 13},
        )

    def validate(self, model):
        return "TASK_UNSUPPORTED"

    def get_model(self, model_name):
        return "TASK_UNSUPPORTED"
