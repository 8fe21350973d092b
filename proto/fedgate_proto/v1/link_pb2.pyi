from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PeerMessage(_message.Message):
    __slots__ = ("hello", "heartbeat", "offer_reply", "handshake", "letter", "resume", "resumed", "session_closed", "report", "audit", "cargo_taken")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    OFFER_REPLY_FIELD_NUMBER: _ClassVar[int]
    HANDSHAKE_FIELD_NUMBER: _ClassVar[int]
    LETTER_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    SESSION_CLOSED_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    CARGO_TAKEN_FIELD_NUMBER: _ClassVar[int]
    hello: PeerHello
    heartbeat: Heartbeat
    offer_reply: OfferReply
    handshake: Handshake
    letter: Letter
    resume: Resume
    resumed: Resume
    session_closed: SessionClosed
    report: JobReport
    audit: AuditReport
    cargo_taken: CargoRequest
    def __init__(self, hello: _Optional[_Union[PeerHello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., offer_reply: _Optional[_Union[OfferReply, _Mapping]] = ..., handshake: _Optional[_Union[Handshake, _Mapping]] = ..., letter: _Optional[_Union[Letter, _Mapping]] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ..., resumed: _Optional[_Union[Resume, _Mapping]] = ..., session_closed: _Optional[_Union[SessionClosed, _Mapping]] = ..., report: _Optional[_Union[JobReport, _Mapping]] = ..., audit: _Optional[_Union[AuditReport, _Mapping]] = ..., cargo_taken: _Optional[_Union[CargoRequest, _Mapping]] = ...) -> None: ...

class GatewayMessage(_message.Message):
    __slots__ = ("welcome", "heartbeat", "offer", "assign", "join", "handshake", "letter", "resume", "resumed", "session_closed", "over", "peer", "taken")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    ASSIGN_FIELD_NUMBER: _ClassVar[int]
    JOIN_FIELD_NUMBER: _ClassVar[int]
    HANDSHAKE_FIELD_NUMBER: _ClassVar[int]
    LETTER_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    SESSION_CLOSED_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    heartbeat: Heartbeat
    offer: JobSpec
    assign: JobSpec
    join: JobSpec
    handshake: Handshake
    letter: Letter
    resume: Resume
    resumed: Resume
    session_closed: SessionClosed
    over: JobOver
    peer: PeerState
    taken: ReportsTaken
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., offer: _Optional[_Union[JobSpec, _Mapping]] = ..., assign: _Optional[_Union[JobSpec, _Mapping]] = ..., join: _Optional[_Union[JobSpec, _Mapping]] = ..., handshake: _Optional[_Union[Handshake, _Mapping]] = ..., letter: _Optional[_Union[Letter, _Mapping]] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ..., resumed: _Optional[_Union[Resume, _Mapping]] = ..., session_closed: _Optional[_Union[SessionClosed, _Mapping]] = ..., over: _Optional[_Union[JobOver, _Mapping]] = ..., peer: _Optional[_Union[PeerState, _Mapping]] = ..., taken: _Optional[_Union[ReportsTaken, _Mapping]] = ...) -> None: ...

class PeerHello(_message.Message):
    __slots__ = ("protocol", "version", "frameworks", "datasets", "max_jobs", "jobs", "sandbox", "guard", "project_files", "resources")
    class ProjectFilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ResourcesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORKS_FIELD_NUMBER: _ClassVar[int]
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    MAX_JOBS_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    GUARD_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FILES_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    version: str
    frameworks: _containers.RepeatedCompositeFieldContainer[Framework]
    datasets: _containers.RepeatedScalarFieldContainer[str]
    max_jobs: int
    jobs: _containers.RepeatedScalarFieldContainer[str]
    sandbox: str
    guard: Guard
    project_files: _containers.ScalarMap[str, str]
    resources: _containers.ScalarMap[str, float]
    def __init__(self, protocol: _Optional[int] = ..., version: _Optional[str] = ..., frameworks: _Optional[_Iterable[_Union[Framework, _Mapping]]] = ..., datasets: _Optional[_Iterable[str]] = ..., max_jobs: _Optional[int] = ..., jobs: _Optional[_Iterable[str]] = ..., sandbox: _Optional[str] = ..., guard: _Optional[_Union[Guard, _Mapping]] = ..., project_files: _Optional[_Mapping[str, str]] = ..., resources: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Guard(_message.Message):
    __slots__ = ("frames", "kinds")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedScalarFieldContainer[str]
    kinds: _containers.RepeatedCompositeFieldContainer[KindGuard]
    def __init__(self, frames: _Optional[_Iterable[str]] = ..., kinds: _Optional[_Iterable[_Union[KindGuard, _Mapping]]] = ...) -> None: ...

class KindGuard(_message.Message):
    __slots__ = ("kind", "arrays", "dtypes", "body_bytes", "metrics")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    DTYPES_FIELD_NUMBER: _ClassVar[int]
    BODY_BYTES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    arrays: str
    dtypes: _containers.RepeatedScalarFieldContainer[str]
    body_bytes: int
    metrics: int
    def __init__(self, kind: _Optional[str] = ..., arrays: _Optional[str] = ..., dtypes: _Optional[_Iterable[str]] = ..., body_bytes: _Optional[int] = ..., metrics: _Optional[int] = ...) -> None: ...

class Framework(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("gateway", "heartbeat_seconds", "offline_seconds")
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    gateway: str
    heartbeat_seconds: float
    offline_seconds: float
    def __init__(self, gateway: _Optional[str] = ..., heartbeat_seconds: _Optional[float] = ..., offline_seconds: _Optional[float] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class JobSpec(_message.Message):
    __slots__ = ("job", "project", "name", "bundle", "bundle_bytes", "framework", "manifest", "submitter", "sites", "datasets", "min_sites", "config", "recipient", "task_seconds", "enclave", "request")
    JOB_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    SUBMITTER_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    MIN_SITES_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    TASK_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ENCLAVE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    job: str
    project: str
    name: str
    bundle: str
    bundle_bytes: int
    framework: str
    manifest: str
    submitter: str
    sites: _containers.RepeatedScalarFieldContainer[str]
    datasets: _containers.RepeatedScalarFieldContainer[str]
    min_sites: int
    config: str
    recipient: bytes
    task_seconds: float
    enclave: str
    request: bytes
    def __init__(self, job: _Optional[str] = ..., project: _Optional[str] = ..., name: _Optional[str] = ..., bundle: _Optional[str] = ..., bundle_bytes: _Optional[int] = ..., framework: _Optional[str] = ..., manifest: _Optional[str] = ..., submitter: _Optional[str] = ..., sites: _Optional[_Iterable[str]] = ..., datasets: _Optional[_Iterable[str]] = ..., min_sites: _Optional[int] = ..., config: _Optional[str] = ..., recipient: _Optional[bytes] = ..., task_seconds: _Optional[float] = ..., enclave: _Optional[str] = ..., request: _Optional[bytes] = ...) -> None: ...

class OfferReply(_message.Message):
    __slots__ = ("job", "accepted", "policy_digest", "notice", "about")
    JOB_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    ABOUT_FIELD_NUMBER: _ClassVar[int]
    job: str
    accepted: bool
    policy_digest: bytes
    notice: str
    about: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job: _Optional[str] = ..., accepted: _Optional[bool] = ..., policy_digest: _Optional[bytes] = ..., notice: _Optional[str] = ..., about: _Optional[_Iterable[str]] = ...) -> None: ...

class Handshake(_message.Message):
    __slots__ = ("job", "site", "step", "data")
    class Step(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STEP_UNSPECIFIED: _ClassVar[Handshake.Step]
        HELLO: _ClassVar[Handshake.Step]
        ANSWER: _ClassVar[Handshake.Step]
        FINISH: _ClassVar[Handshake.Step]
    STEP_UNSPECIFIED: Handshake.Step
    HELLO: Handshake.Step
    ANSWER: Handshake.Step
    FINISH: Handshake.Step
    JOB_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    job: str
    site: str
    step: Handshake.Step
    data: bytes
    def __init__(self, job: _Optional[str] = ..., site: _Optional[str] = ..., step: _Optional[_Union[Handshake.Step, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Letter(_message.Message):
    __slots__ = ("epoch", "expected", "data", "job", "site", "session")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    expected: int
    data: bytes
    job: str
    site: str
    session: bytes
    def __init__(self, epoch: _Optional[int] = ..., expected: _Optional[int] = ..., data: _Optional[bytes] = ..., job: _Optional[str] = ..., site: _Optional[str] = ..., session: _Optional[bytes] = ...) -> None: ...

class Resume(_message.Message):
    __slots__ = ("job", "site", "session", "epoch", "expected")
    JOB_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    job: str
    site: str
    session: bytes
    epoch: int
    expected: int
    def __init__(self, job: _Optional[str] = ..., site: _Optional[str] = ..., session: _Optional[bytes] = ..., epoch: _Optional[int] = ..., expected: _Optional[int] = ...) -> None: ...

class SessionClosed(_message.Message):
    __slots__ = ("job", "site", "session", "notice")
    JOB_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    job: str
    site: str
    session: bytes
    notice: str
    def __init__(self, job: _Optional[str] = ..., site: _Optional[str] = ..., session: _Optional[bytes] = ..., notice: _Optional[str] = ...) -> None: ...

class JobReport(_message.Message):
    __slots__ = ("job", "started", "event", "finished", "refused", "place", "clear")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FIELD_NUMBER: _ClassVar[int]
    job: str
    started: str
    event: str
    finished: Finished
    refused: str
    place: OutboxPlace
    clear: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job: _Optional[str] = ..., started: _Optional[str] = ..., event: _Optional[str] = ..., finished: _Optional[_Union[Finished, _Mapping]] = ..., refused: _Optional[str] = ..., place: _Optional[_Union[OutboxPlace, _Mapping]] = ..., clear: _Optional[_Iterable[str]] = ...) -> None: ...

class Finished(_message.Message):
    __slots__ = ("succeeded", "notice")
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    succeeded: bool
    notice: str
    def __init__(self, succeeded: _Optional[bool] = ..., notice: _Optional[str] = ...) -> None: ...

class AuditReport(_message.Message):
    __slots__ = ("job", "kind", "data", "place")
    JOB_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    job: str
    kind: str
    data: str
    place: OutboxPlace
    def __init__(self, job: _Optional[str] = ..., kind: _Optional[str] = ..., data: _Optional[str] = ..., place: _Optional[_Union[OutboxPlace, _Mapping]] = ...) -> None: ...

class OutboxPlace(_message.Message):
    __slots__ = ("outbox", "number")
    OUTBOX_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    outbox: bytes
    number: int
    def __init__(self, outbox: _Optional[bytes] = ..., number: _Optional[int] = ...) -> None: ...

class ReportsTaken(_message.Message):
    __slots__ = ("job", "outbox", "number")
    JOB_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    job: str
    outbox: bytes
    number: int
    def __init__(self, job: _Optional[str] = ..., outbox: _Optional[bytes] = ..., number: _Optional[int] = ...) -> None: ...

class JobOver(_message.Message):
    __slots__ = ("job", "state", "reason")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    job: str
    state: str
    reason: str
    def __init__(self, job: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class PeerState(_message.Message):
    __slots__ = ("job", "site", "online")
    JOB_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    job: str
    site: str
    online: bool
    def __init__(self, job: _Optional[str] = ..., site: _Optional[str] = ..., online: _Optional[bool] = ...) -> None: ...

class BundleRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class CargoRequest(_message.Message):
    __slots__ = ("job", "cargo", "first")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CARGO_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    job: str
    cargo: bytes
    first: int
    def __init__(self, job: _Optional[str] = ..., cargo: _Optional[bytes] = ..., first: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("data", "cargo", "output")
    DATA_FIELD_NUMBER: _ClassVar[int]
    CARGO_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    cargo: CargoHeader
    output: OutputHeader
    def __init__(self, data: _Optional[bytes] = ..., cargo: _Optional[_Union[CargoHeader, _Mapping]] = ..., output: _Optional[_Union[OutputHeader, _Mapping]] = ...) -> None: ...

class CargoHeader(_message.Message):
    __slots__ = ("job", "cargo", "size", "receivers")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CARGO_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    RECEIVERS_FIELD_NUMBER: _ClassVar[int]
    job: str
    cargo: bytes
    size: int
    receivers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job: _Optional[str] = ..., cargo: _Optional[bytes] = ..., size: _Optional[int] = ..., receivers: _Optional[_Iterable[str]] = ...) -> None: ...

class OutputHeader(_message.Message):
    __slots__ = ("job", "name", "kind", "size", "sealed")
    JOB_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    job: str
    name: str
    kind: str
    size: int
    sealed: bool
    def __init__(self, job: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[str] = ..., size: _Optional[int] = ..., sealed: _Optional[bool] = ...) -> None: ...

class CertificateRequest(_message.Message):
    __slots__ = ("csr",)
    CSR_FIELD_NUMBER: _ClassVar[int]
    csr: bytes
    def __init__(self, csr: _Optional[bytes] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("pem",)
    PEM_FIELD_NUMBER: _ClassVar[int]
    pem: bytes
    def __init__(self, pem: _Optional[bytes] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("bytes",)
    BYTES_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    def __init__(self, bytes: _Optional[int] = ...) -> None: ...
