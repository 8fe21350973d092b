"""Writes the metrics that sites stream into one text file."""

from pathlib import Path

from nvflare.apis.dxo import from_shareable
from nvflare.app_common.widgets.streaming import AnalyticsReceiver


class TextAnalyticsReceiver(AnalyticsReceiver):
    def initialize(self, fl_ctx):
        run = fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())
        self._lines = []
        self._path = Path(run, "metrics.txt")

    def save(self, fl_ctx, shareable, record_origin):
        data = from_shareable(shareable).data
        self._lines.append(f"{record_origin} {data['track_key']} {data['track_value']}")

    def finalize(self, fl_ctx):
        self._path.write_text("\n".join(self._lines))
