"""Keeps a model at a site, as swarm learning needs it, and starts from numbers with long tails."""

from pathlib import Path

import numpy as np
from nvflare.app_common.abstract.model import (
    ModelLearnable,
    ModelLearnableKey,
    make_model_learnable,
)
from nvflare.app_common.abstract.model_persistor import ModelPersistor


class StartPersistor(ModelPersistor):
    def load_model(self, fl_ctx) -> ModelLearnable:
        start = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])
        return make_model_learnable({"numpy_key": start}, {})

    def save_model(self, model: ModelLearnable, fl_ctx):
        run = fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())
        np.save(Path(run, "final.npy"), model[ModelLearnableKey.WEIGHTS]["numpy_key"])
