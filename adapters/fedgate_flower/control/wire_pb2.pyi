from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Scalar(_message.Message):
    __slots__ = ("real", "natural", "integer", "truth", "text", "blob")
    REAL_FIELD_NUMBER: _ClassVar[int]
    NATURAL_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    TRUTH_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    real: float
    natural: int
    integer: int
    truth: bool
    text: str
    blob: bytes
    def __init__(self, real: _Optional[float] = ..., natural: _Optional[int] = ..., integer: _Optional[int] = ..., truth: _Optional[bool] = ..., text: _Optional[str] = ..., blob: _Optional[bytes] = ...) -> None: ...

class Fab(_message.Message):
    __slots__ = ("hash_str", "content")
    HASH_STR_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    hash_str: str
    content: bytes
    def __init__(self, hash_str: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...

class SimulationConfig(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StartRunRequest(_message.Message):
    __slots__ = ("fab", "override_config", "override_federation_config", "app_spec", "federation", "series_id")
    class OverrideConfigEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Scalar
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Scalar, _Mapping]] = ...) -> None: ...
    FAB_FIELD_NUMBER: _ClassVar[int]
    OVERRIDE_CONFIG_FIELD_NUMBER: _ClassVar[int]
    OVERRIDE_FEDERATION_CONFIG_FIELD_NUMBER: _ClassVar[int]
    APP_SPEC_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    SERIES_ID_FIELD_NUMBER: _ClassVar[int]
    fab: Fab
    override_config: _containers.MessageMap[str, Scalar]
    override_federation_config: SimulationConfig
    app_spec: str
    federation: str
    series_id: int
    def __init__(self, fab: _Optional[_Union[Fab, _Mapping]] = ..., override_config: _Optional[_Mapping[str, Scalar]] = ..., override_federation_config: _Optional[_Union[SimulationConfig, _Mapping]] = ..., app_spec: _Optional[str] = ..., federation: _Optional[str] = ..., series_id: _Optional[int] = ...) -> None: ...

class StartRunResponse(_message.Message):
    __slots__ = ("run_id", "note", "series_id", "federation")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    SERIES_ID_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    run_id: int
    note: str
    series_id: int
    federation: str
    def __init__(self, run_id: _Optional[int] = ..., note: _Optional[str] = ..., series_id: _Optional[int] = ..., federation: _Optional[str] = ...) -> None: ...

class StreamLogsRequest(_message.Message):
    __slots__ = ("run_id", "after_timestamp")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    run_id: int
    after_timestamp: float
    def __init__(self, run_id: _Optional[int] = ..., after_timestamp: _Optional[float] = ...) -> None: ...

class StreamLogsResponse(_message.Message):
    __slots__ = ("log_output", "latest_timestamp")
    LOG_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    LATEST_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    log_output: str
    latest_timestamp: float
    def __init__(self, log_output: _Optional[str] = ..., latest_timestamp: _Optional[float] = ...) -> None: ...

class RunStatus(_message.Message):
    __slots__ = ("status", "sub_status", "details")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SUB_STATUS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    status: str
    sub_status: str
    details: str
    def __init__(self, status: _Optional[str] = ..., sub_status: _Optional[str] = ..., details: _Optional[str] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("run_id", "fab_id", "fab_version", "override_config", "fab_hash", "pending_at", "starting_at", "running_at", "finished_at", "status", "federation", "bytes_sent", "bytes_recv", "primary_task_type", "account_name")
    class OverrideConfigEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Scalar
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Scalar, _Mapping]] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    FAB_ID_FIELD_NUMBER: _ClassVar[int]
    FAB_VERSION_FIELD_NUMBER: _ClassVar[int]
    OVERRIDE_CONFIG_FIELD_NUMBER: _ClassVar[int]
    FAB_HASH_FIELD_NUMBER: _ClassVar[int]
    PENDING_AT_FIELD_NUMBER: _ClassVar[int]
    STARTING_AT_FIELD_NUMBER: _ClassVar[int]
    RUNNING_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_FIELD_NUMBER: _ClassVar[int]
    BYTES_RECV_FIELD_NUMBER: _ClassVar[int]
    PRIMARY_TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    run_id: int
    fab_id: str
    fab_version: str
    override_config: _containers.MessageMap[str, Scalar]
    fab_hash: str
    pending_at: str
    starting_at: str
    running_at: str
    finished_at: str
    status: RunStatus
    federation: str
    bytes_sent: int
    bytes_recv: int
    primary_task_type: str
    account_name: str
    def __init__(self, run_id: _Optional[int] = ..., fab_id: _Optional[str] = ..., fab_version: _Optional[str] = ..., override_config: _Optional[_Mapping[str, Scalar]] = ..., fab_hash: _Optional[str] = ..., pending_at: _Optional[str] = ..., starting_at: _Optional[str] = ..., running_at: _Optional[str] = ..., finished_at: _Optional[str] = ..., status: _Optional[_Union[RunStatus, _Mapping]] = ..., federation: _Optional[str] = ..., bytes_sent: _Optional[int] = ..., bytes_recv: _Optional[int] = ..., primary_task_type: _Optional[str] = ..., account_name: _Optional[str] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("run_id", "limit", "skip")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    run_id: int
    limit: int
    skip: int
    def __init__(self, run_id: _Optional[int] = ..., limit: _Optional[int] = ..., skip: _Optional[int] = ...) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("run_dict", "now")
    class RunDictEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: Run
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[Run, _Mapping]] = ...) -> None: ...
    RUN_DICT_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    run_dict: _containers.MessageMap[int, Run]
    now: str
    def __init__(self, run_dict: _Optional[_Mapping[int, Run]] = ..., now: _Optional[str] = ...) -> None: ...

class StopRunRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: int
    def __init__(self, run_id: _Optional[int] = ...) -> None: ...

class StopRunResponse(_message.Message):
    __slots__ = ("success",)
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    def __init__(self, success: _Optional[bool] = ...) -> None: ...

class PullArtifactsRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: int
    def __init__(self, run_id: _Optional[int] = ...) -> None: ...

class PullArtifactsResponse(_message.Message):
    __slots__ = ("url",)
    URL_FIELD_NUMBER: _ClassVar[int]
    url: str
    def __init__(self, url: _Optional[str] = ...) -> None: ...

class GetLoginDetailsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetLoginDetailsResponse(_message.Message):
    __slots__ = ("authn_type", "device_code", "verification_uri_complete", "expires_in", "interval")
    AUTHN_TYPE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CODE_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_URI_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    authn_type: str
    device_code: str
    verification_uri_complete: str
    expires_in: int
    interval: int
    def __init__(self, authn_type: _Optional[str] = ..., device_code: _Optional[str] = ..., verification_uri_complete: _Optional[str] = ..., expires_in: _Optional[int] = ..., interval: _Optional[int] = ...) -> None: ...

class GetAuthTokensRequest(_message.Message):
    __slots__ = ("device_code",)
    DEVICE_CODE_FIELD_NUMBER: _ClassVar[int]
    device_code: str
    def __init__(self, device_code: _Optional[str] = ...) -> None: ...

class GetAuthTokensResponse(_message.Message):
    __slots__ = ("access_token", "refresh_token")
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    access_token: str
    refresh_token: str
    def __init__(self, access_token: _Optional[str] = ..., refresh_token: _Optional[str] = ...) -> None: ...

class RefreshAuthTokensRequest(_message.Message):
    __slots__ = ("refresh_token",)
    REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    refresh_token: str
    def __init__(self, refresh_token: _Optional[str] = ...) -> None: ...

class RefreshAuthTokensResponse(_message.Message):
    __slots__ = ("access_token", "refresh_token")
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    access_token: str
    refresh_token: str
    def __init__(self, access_token: _Optional[str] = ..., refresh_token: _Optional[str] = ...) -> None: ...
