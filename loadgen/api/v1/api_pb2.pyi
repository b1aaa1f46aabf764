from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StartPart(_message.Message):
    __slots__ = ("order", "data")
    ORDER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    order: Order
    data: bytes
    def __init__(self, order: _Optional[_Union[Order, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Order(_message.Message):
    __slots__ = ("spec_json", "overrides_json", "scenario", "plan", "seed", "agents", "bundle_sha256", "bundle_bytes", "no_error_fuse", "signature", "aborts_on_loss", "statement")
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_JSON_FIELD_NUMBER: _ClassVar[int]
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_SHA256_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    NO_ERROR_FUSE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    ABORTS_ON_LOSS_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    spec_json: bytes
    overrides_json: bytes
    scenario: str
    plan: str
    seed: int
    agents: int
    bundle_sha256: str
    bundle_bytes: int
    no_error_fuse: bool
    signature: bytes
    aborts_on_loss: bool
    statement: bytes
    def __init__(self, spec_json: _Optional[bytes] = ..., overrides_json: _Optional[bytes] = ..., scenario: _Optional[str] = ..., plan: _Optional[str] = ..., seed: _Optional[int] = ..., agents: _Optional[int] = ..., bundle_sha256: _Optional[str] = ..., bundle_bytes: _Optional[int] = ..., no_error_fuse: bool = ..., signature: _Optional[bytes] = ..., aborts_on_loss: bool = ..., statement: _Optional[bytes] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("run_id", "folder")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    folder: str
    def __init__(self, run_id: _Optional[str] = ..., folder: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: str
    def __init__(self, run: _Optional[str] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("run_id", "phase", "clock_s", "is_over", "exit_code", "figures_json")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    CLOCK_S_FIELD_NUMBER: _ClassVar[int]
    IS_OVER_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    FIGURES_JSON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    phase: str
    clock_s: float
    is_over: bool
    exit_code: int
    figures_json: bytes
    def __init__(self, run_id: _Optional[str] = ..., phase: _Optional[str] = ..., clock_s: _Optional[float] = ..., is_over: bool = ..., exit_code: _Optional[int] = ..., figures_json: _Optional[bytes] = ...) -> None: ...

class StopRequest(_message.Message):
    __slots__ = ("run", "now")
    RUN_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    run: str
    now: bool
    def __init__(self, run: _Optional[str] = ..., now: bool = ...) -> None: ...

class KillRequest(_message.Message):
    __slots__ = ("run", "all")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    run: str
    all: bool
    def __init__(self, run: _Optional[str] = ..., all: bool = ...) -> None: ...

class ChangeRequest(_message.Message):
    __slots__ = ("run", "load")
    RUN_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    run: str
    load: str
    def __init__(self, run: _Optional[str] = ..., load: _Optional[str] = ...) -> None: ...

class ScaleRequest(_message.Message):
    __slots__ = ("run", "load", "factor", "rate", "users")
    RUN_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    run: str
    load: str
    factor: float
    rate: float
    users: float
    def __init__(self, run: _Optional[str] = ..., load: _Optional[str] = ..., factor: _Optional[float] = ..., rate: _Optional[float] = ..., users: _Optional[float] = ...) -> None: ...

class Told(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lines: _Optional[_Iterable[str]] = ...) -> None: ...

class AgentsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AgentList(_message.Message):
    __slots__ = ("agents",)
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[Agent]
    def __init__(self, agents: _Optional[_Iterable[_Union[Agent, _Mapping]]] = ...) -> None: ...

class Agent(_message.Message):
    __slots__ = ("id", "region", "presence", "run_id", "silent_s", "host", "cpus", "workers", "epoch", "note")
    ID_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SILENT_S_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    id: str
    region: str
    presence: str
    run_id: str
    silent_s: float
    host: str
    cpus: int
    workers: int
    epoch: int
    note: str
    def __init__(self, id: _Optional[str] = ..., region: _Optional[str] = ..., presence: _Optional[str] = ..., run_id: _Optional[str] = ..., silent_s: _Optional[float] = ..., host: _Optional[str] = ..., cpus: _Optional[int] = ..., workers: _Optional[int] = ..., epoch: _Optional[int] = ..., note: _Optional[str] = ...) -> None: ...

class RunsRequest(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: int
    def __init__(self, limit: _Optional[int] = ...) -> None: ...

class RunList(_message.Message):
    __slots__ = ("runs",)
    RUNS_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[RunLine]
    def __init__(self, runs: _Optional[_Iterable[_Union[RunLine, _Mapping]]] = ...) -> None: ...

class RunLine(_message.Message):
    __slots__ = ("run_id", "state", "is_going", "agents", "by")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    IS_GOING_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    state: str
    is_going: bool
    agents: int
    by: str
    def __init__(self, run_id: _Optional[str] = ..., state: _Optional[str] = ..., is_going: bool = ..., agents: _Optional[int] = ..., by: _Optional[str] = ...) -> None: ...

class SummaryRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: str
    def __init__(self, run: _Optional[str] = ...) -> None: ...

class SummaryReply(_message.Message):
    __slots__ = ("run_id", "summary_json", "folder")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_JSON_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    summary_json: bytes
    folder: str
    def __init__(self, run_id: _Optional[str] = ..., summary_json: _Optional[bytes] = ..., folder: _Optional[str] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: str
    def __init__(self, run: _Optional[str] = ...) -> None: ...

class FilePart(_message.Message):
    __slots__ = ("name", "data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    data: bytes
    def __init__(self, name: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...
