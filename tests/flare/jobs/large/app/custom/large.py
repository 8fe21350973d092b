"""A model of 32 MB (or LARGE_MB), and what the server's own memory is after each round."""

import os
import re
from pathlib import Path

import numpy as np
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.abstract.model_persistor import ModelPersistor


class LargePersistor(ModelPersistor):
    def load_model(self, fl_ctx):
        floats = int(os.environ.get("LARGE_MB", "32")) * 250_000
        return make_model_learnable({"numpy_key": np.ones(floats, np.float32)}, {})

    def save_model(self, model, fl_ctx):
        run = fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())
        (size,) = re.findall(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
        with Path(run, "memory.txt").open("a") as file:
            file.write(f"{int(size) // 1024}\n")
