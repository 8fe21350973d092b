"""The server's models for cross-site evaluation: what the earlier workflows saved."""

import numpy as np
from nvflare.apis.dxo import DXO, DataKind
from nvflare.app_common.abstract.model_locator import ModelLocator


class SavedModels(ModelLocator):
    def get_model_names(self, fl_ctx):
        return ["server"]

    def locate_model(self, model_name, fl_ctx):
        run = fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())
        weights = np.load(f"{run}/models/{model_name}.npy")
        return DXO(DataKind.WEIGHTS, data={"numpy_key": weights})
