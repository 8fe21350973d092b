"""A controller that asks all sites one question with FLARE's broadcast operator."""

from pathlib import Path

from nvflare.apis.dxo import DXO, DataKind
from nvflare.app_common.workflows.broadcast_operator import BroadcastAndWait
from nvflare.app_common.workflows.error_handling_controller import ErrorHandlingController


class Ask(ErrorHandlingController):
    def start_controller(self, fl_ctx):
        pass

    def control_flow(self, abort_signal, fl_ctx):
        question = DXO(DataKind.APP_DEFINED, data={"factor": 3}).to_shareable()
        answers = BroadcastAndWait(fl_ctx, self).broadcast_and_wait(
            "ask", question, fl_ctx, min_responses=2, abort_signal=abort_signal
        )
        run = fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())
        lines = [f"{site} {dxo.data['product']}" for site, dxo in sorted(answers.items())]
        Path(run, "answers.txt").write_text("\n".join(lines))

    def stop_controller(self, fl_ctx):
        pass

    def process_result_of_unknown_task(self, client, task_name, client_task_id, result, fl_ctx):
        pass
