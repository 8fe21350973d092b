"""FLARE's admin server, with fewer commands and with bounds on what comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReturnCode
from nvflare.apis.streaming import StreamContext, StreamContextKey

from fedgate.side_door import Submitter
from fedgate_flare._nvflare_private import ConnProps, FedAdminServer, StreamChannel
from fedgate_flare.front_door.commands import OfferedCommands, modules, refuse
from fedgate_flare.front_door.folder import DoorFolder
from fedgate_flare.front_door.job_manager import DoorJobManager
from fedgate_flare.front_door.uploads import Uploads


class DoorAdminServer(FedAdminServer):  # type: ignore[misc]
    """What admins talk to."""

    def __init__(
        self,
        server: Any,
        *,
        folder: DoorFolder,
        manager: DoorJobManager,
        submitter: Submitter,
        started: Callable[[], None],
    ) -> None:
        transfer = str(folder.scratch)
        super().__init__(
            cell=server.cell,
            fed_admin_interface=server.engine,
            cmd_modules=modules(manager, submitter),
            file_upload_dir=transfer,
            file_download_dir=transfer,
        )
        self.cmd_reg.add_filter(OfferedCommands())
        self._started = started
        self._uploads = Uploads(folder.uploads)
        # The last one to register a channel has it.
        server.engine.register_stream_processing(
            channel=StreamChannel.UPLOAD,
            topic="*",
            factory=self._uploads,
            stream_done_cb=self._process_upload,
        )

    def start(self) -> None:
        super().start()
        self._started()

    def _process_upload(self, stream_ctx: StreamContext, fl_ctx: FLContext, **_: Any) -> Any:
        """The command that an upload was for; nothing for one that was cut off."""
        upload = self._uploads.take(stream_ctx)
        if upload is None:
            return None
        try:
            if stream_ctx.get(StreamContextKey.RC) != ReturnCode.OK:
                return None
            ok, command, conn = self._create_conn(stream_ctx.get("conn_data"))
            if upload.refusal is not None:
                refuse(conn, upload.refusal)
            elif ok:
                conn.set_prop(ConnProps.FILE_LOCATION, str(upload.path))
                self.cmd_reg.process_command(conn, command)
            return conn.close()
        finally:
            upload.discard()
