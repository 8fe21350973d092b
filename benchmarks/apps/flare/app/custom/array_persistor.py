"""Makes the initial array and notes when each round began. Leaves rounds.json in the run's folder.

Nothing is written between rounds, so that disks are not what is measured.
"""

import hashlib
import json
import time
from pathlib import Path

import numpy as np
from nvflare.apis.event_type import EventType
from nvflare.app_common.abstract.model import ModelLearnableKey, make_model_learnable
from nvflare.app_common.abstract.model_persistor import ModelPersistor
from nvflare.app_common.app_event_type import AppEventType

KEY = "numpy_key"


class ArrayPersistor(ModelPersistor):
    def __init__(self, floats):
        super().__init__()
        self.floats = floats
        self.began = []
        self.ended = None
        self.last = None

    def load_model(self, fl_ctx):
        array = np.random.default_rng(0).standard_normal(self.floats, dtype=np.float32)
        return make_model_learnable(weights={KEY: array}, meta_props={})

    def save_model(self, model_learnable, fl_ctx):
        self.ended = time.time()
        self.last = model_learnable[ModelLearnableKey.WEIGHTS][KEY]

    def handle_event(self, event_type, fl_ctx):
        if event_type == AppEventType.ROUND_STARTED:
            self.began.append(time.time())
        elif event_type == EventType.END_RUN and self.last is not None:
            digest = hashlib.sha256(np.ascontiguousarray(self.last).tobytes()).hexdigest()
            report = {"stamps": [*self.began, self.ended], "sha256": digest}
            run = fl_ctx.get_workspace().get_run_dir(fl_ctx.get_job_id())
            Path(run, "rounds.json").write_text(json.dumps(report))
        super().handle_event(event_type, fl_ctx)
