from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Encoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENCODING_PLAIN: _ClassVar[Encoding]
    ENCODING_ZSTD: _ClassVar[Encoding]

class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TYPE_UNSPECIFIED: _ClassVar[Type]
    TYPE_HELLO: _ClassVar[Type]
    TYPE_WELCOME: _ClassVar[Type]
    TYPE_REJECTED: _ClassVar[Type]
    TYPE_CLOCK_PING: _ClassVar[Type]
    TYPE_CLOCK_PONG: _ClassVar[Type]
    TYPE_PREPARE: _ClassVar[Type]
    TYPE_BUNDLE_REQUEST: _ClassVar[Type]
    TYPE_BUNDLE_CHUNK: _ClassVar[Type]
    TYPE_READY: _ClassVar[Type]
    TYPE_REFUSED: _ClassVar[Type]
    TYPE_SET_UP: _ClassVar[Type]
    TYPE_SET_UP_DONE: _ClassVar[Type]
    TYPE_START_AT: _ClassVar[Type]
    TYPE_HEARTBEAT: _ClassVar[Type]
    TYPE_DELTA: _ClassVar[Type]
    TYPE_ACK: _ClassVar[Type]
    TYPE_STOP: _ClassVar[Type]
    TYPE_FIN: _ClassVar[Type]
    TYPE_TEAR_DOWN: _ClassVar[Type]
    TYPE_TORN_DOWN: _ClassVar[Type]
    TYPE_BYE: _ClassVar[Type]
    TYPE_ADJUST: _ClassVar[Type]
    TYPE_NACK: _ClassVar[Type]
    TYPE_REASSIGN: _ClassVar[Type]
    TYPE_WAITING: _ClassVar[Type]
    TYPE_RELEASE_AT: _ClassVar[Type]
    TYPE_STEER: _ClassVar[Type]
    TYPE_STEERED: _ClassVar[Type]
    TYPE_DELTA_ROW: _ClassVar[Type]

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    KIND_JOURNEY: _ClassVar[Kind]
    KIND_STEP: _ClassVar[Kind]
    KIND_REQUEST: _ClassVar[Kind]
    KIND_TREND: _ClassVar[Kind]
    KIND_GOODPUT: _ClassVar[Kind]

class Metric(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METRIC_UNSPECIFIED: _ClassVar[Metric]
    METRIC_RESPONSE: _ClassVar[Metric]
    METRIC_SERVICE: _ClassVar[Metric]
    METRIC_DURATION: _ClassVar[Metric]
    METRIC_USER_WAIT: _ClassVar[Metric]
    METRIC_GENERATOR_LAG: _ClassVar[Metric]
    METRIC_VALUE: _ClassVar[Metric]
    METRIC_BLOCKED: _ClassVar[Metric]
    METRIC_DNS: _ClassVar[Metric]
    METRIC_CONNECT: _ClassVar[Metric]
    METRIC_TLS: _ClassVar[Metric]
    METRIC_SEND: _ClassVar[Metric]
    METRIC_WAIT: _ClassVar[Metric]
    METRIC_RECEIVE: _ClassVar[Metric]
    METRIC_TTFB: _ClassVar[Metric]
    METRIC_TTFT: _ClassVar[Metric]
    METRIC_TTFT_DUE: _ClassVar[Metric]
    METRIC_TTFO: _ClassVar[Metric]
    METRIC_ITL: _ClassVar[Metric]
    METRIC_ICL: _ClassVar[Metric]
    METRIC_STALL: _ClassVar[Metric]
    METRIC_TPOT: _ClassVar[Metric]
    METRIC_PROMPT_TOKENS: _ClassVar[Metric]
    METRIC_CACHED_TOKENS: _ClassVar[Metric]
    METRIC_OUTPUT_TOKENS: _ClassVar[Metric]
    METRIC_REASONING_TOKENS: _ClassVar[Metric]
    METRIC_FIRST_MESSAGE: _ClassVar[Metric]
    METRIC_MESSAGE_GAP: _ClassVar[Metric]
    METRIC_ANSWER: _ClassVar[Metric]
    METRIC_MESSAGE_AGE: _ClassVar[Metric]
    METRIC_LCP: _ClassVar[Metric]
    METRIC_INP: _ClassVar[Metric]
    METRIC_CLS: _ClassVar[Metric]
    METRIC_FCP: _ClassVar[Metric]

class Ending(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENDING_UNSPECIFIED: _ClassVar[Ending]
    ENDING_DONE: _ClassVar[Ending]
    ENDING_STOPPED: _ClassVar[Ending]
    ENDING_LEFT: _ClassVar[Ending]
    ENDING_LEASE: _ClassVar[Ending]
    ENDING_TIME_LIMIT: _ClassVar[Ending]
    ENDING_DIED: _ClassVar[Ending]
ENCODING_PLAIN: Encoding
ENCODING_ZSTD: Encoding
TYPE_UNSPECIFIED: Type
TYPE_HELLO: Type
TYPE_WELCOME: Type
TYPE_REJECTED: Type
TYPE_CLOCK_PING: Type
TYPE_CLOCK_PONG: Type
TYPE_PREPARE: Type
TYPE_BUNDLE_REQUEST: Type
TYPE_BUNDLE_CHUNK: Type
TYPE_READY: Type
TYPE_REFUSED: Type
TYPE_SET_UP: Type
TYPE_SET_UP_DONE: Type
TYPE_START_AT: Type
TYPE_HEARTBEAT: Type
TYPE_DELTA: Type
TYPE_ACK: Type
TYPE_STOP: Type
TYPE_FIN: Type
TYPE_TEAR_DOWN: Type
TYPE_TORN_DOWN: Type
TYPE_BYE: Type
TYPE_ADJUST: Type
TYPE_NACK: Type
TYPE_REASSIGN: Type
TYPE_WAITING: Type
TYPE_RELEASE_AT: Type
TYPE_STEER: Type
TYPE_STEERED: Type
TYPE_DELTA_ROW: Type
KIND_UNSPECIFIED: Kind
KIND_JOURNEY: Kind
KIND_STEP: Kind
KIND_REQUEST: Kind
KIND_TREND: Kind
KIND_GOODPUT: Kind
METRIC_UNSPECIFIED: Metric
METRIC_RESPONSE: Metric
METRIC_SERVICE: Metric
METRIC_DURATION: Metric
METRIC_USER_WAIT: Metric
METRIC_GENERATOR_LAG: Metric
METRIC_VALUE: Metric
METRIC_BLOCKED: Metric
METRIC_DNS: Metric
METRIC_CONNECT: Metric
METRIC_TLS: Metric
METRIC_SEND: Metric
METRIC_WAIT: Metric
METRIC_RECEIVE: Metric
METRIC_TTFB: Metric
METRIC_TTFT: Metric
METRIC_TTFT_DUE: Metric
METRIC_TTFO: Metric
METRIC_ITL: Metric
METRIC_ICL: Metric
METRIC_STALL: Metric
METRIC_TPOT: Metric
METRIC_PROMPT_TOKENS: Metric
METRIC_CACHED_TOKENS: Metric
METRIC_OUTPUT_TOKENS: Metric
METRIC_REASONING_TOKENS: Metric
METRIC_FIRST_MESSAGE: Metric
METRIC_MESSAGE_GAP: Metric
METRIC_ANSWER: Metric
METRIC_MESSAGE_AGE: Metric
METRIC_LCP: Metric
METRIC_INP: Metric
METRIC_CLS: Metric
METRIC_FCP: Metric
ENDING_UNSPECIFIED: Ending
ENDING_DONE: Ending
ENDING_STOPPED: Ending
ENDING_LEFT: Ending
ENDING_LEASE: Ending
ENDING_TIME_LIMIT: Ending
ENDING_DIED: Ending

class Envelope(_message.Message):
    __slots__ = ("major", "minor", "type", "encoding", "crc32", "length", "payload", "beat", "beat_crc32", "answers_ns")
    MAJOR_FIELD_NUMBER: _ClassVar[int]
    MINOR_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    BEAT_CRC32_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_NS_FIELD_NUMBER: _ClassVar[int]
    major: int
    minor: int
    type: Type
    encoding: Encoding
    crc32: int
    length: int
    payload: bytes
    beat: bytes
    beat_crc32: int
    answers_ns: int
    def __init__(self, major: _Optional[int] = ..., minor: _Optional[int] = ..., type: _Optional[_Union[Type, str]] = ..., encoding: _Optional[_Union[Encoding, str]] = ..., crc32: _Optional[int] = ..., length: _Optional[int] = ..., payload: _Optional[bytes] = ..., beat: _Optional[bytes] = ..., beat_crc32: _Optional[int] = ..., answers_ns: _Optional[int] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("agent", "region", "major", "minor", "pid", "host", "cpus", "weight", "epoch", "instance_type", "python")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    MAJOR_FIELD_NUMBER: _ClassVar[int]
    MINOR_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    agent: str
    region: str
    major: int
    minor: int
    pid: int
    host: str
    cpus: int
    weight: float
    epoch: int
    instance_type: str
    python: str
    def __init__(self, agent: _Optional[str] = ..., region: _Optional[str] = ..., major: _Optional[int] = ..., minor: _Optional[int] = ..., pid: _Optional[int] = ..., host: _Optional[str] = ..., cpus: _Optional[int] = ..., weight: _Optional[float] = ..., epoch: _Optional[int] = ..., instance_type: _Optional[str] = ..., python: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("epoch", "lease_s", "run_id", "minor")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LEASE_S_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    MINOR_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    lease_s: float
    run_id: str
    minor: int
    def __init__(self, epoch: _Optional[int] = ..., lease_s: _Optional[float] = ..., run_id: _Optional[str] = ..., minor: _Optional[int] = ...) -> None: ...

class Rejected(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class ClockPing(_message.Message):
    __slots__ = ("agent_ns",)
    AGENT_NS_FIELD_NUMBER: _ClassVar[int]
    agent_ns: int
    def __init__(self, agent_ns: _Optional[int] = ...) -> None: ...

class ClockPong(_message.Message):
    __slots__ = ("agent_ns", "controller_ns")
    AGENT_NS_FIELD_NUMBER: _ClassVar[int]
    CONTROLLER_NS_FIELD_NUMBER: _ClassVar[int]
    agent_ns: int
    controller_ns: int
    def __init__(self, agent_ns: _Optional[int] = ..., controller_ns: _Optional[int] = ...) -> None: ...

class Prepare(_message.Message):
    __slots__ = ("run_id", "generation", "bundle_sha256", "bundle_bytes", "scenario", "plan", "overrides_json", "seed", "index", "weights", "interval_ns", "bundle_dir", "worker", "workers", "life", "digests", "allow_json", "control_plane", "signature", "statement")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_SHA256_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_JSON_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_NS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIR_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    LIFE_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_JSON_FIELD_NUMBER: _ClassVar[int]
    CONTROL_PLANE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    generation: int
    bundle_sha256: str
    bundle_bytes: int
    scenario: str
    plan: str
    overrides_json: bytes
    seed: int
    index: int
    weights: _containers.RepeatedScalarFieldContainer[float]
    interval_ns: int
    bundle_dir: str
    worker: int
    workers: int
    life: int
    digests: _containers.RepeatedScalarFieldContainer[str]
    allow_json: bytes
    control_plane: _containers.RepeatedScalarFieldContainer[str]
    signature: bytes
    statement: bytes
    def __init__(self, run_id: _Optional[str] = ..., generation: _Optional[int] = ..., bundle_sha256: _Optional[str] = ..., bundle_bytes: _Optional[int] = ..., scenario: _Optional[str] = ..., plan: _Optional[str] = ..., overrides_json: _Optional[bytes] = ..., seed: _Optional[int] = ..., index: _Optional[int] = ..., weights: _Optional[_Iterable[float]] = ..., interval_ns: _Optional[int] = ..., bundle_dir: _Optional[str] = ..., worker: _Optional[int] = ..., workers: _Optional[int] = ..., life: _Optional[int] = ..., digests: _Optional[_Iterable[str]] = ..., allow_json: _Optional[bytes] = ..., control_plane: _Optional[_Iterable[str]] = ..., signature: _Optional[bytes] = ..., statement: _Optional[bytes] = ...) -> None: ...

class BundleRequest(_message.Message):
    __slots__ = ("sha256", "offset")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    offset: int
    def __init__(self, sha256: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class BundleChunk(_message.Message):
    __slots__ = ("sha256", "offset", "data")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    offset: int
    data: bytes
    def __init__(self, sha256: _Optional[str] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("run_id", "generation", "bundle_sha256", "clock_error_ns", "left_out", "busy_wait_ns")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_SHA256_FIELD_NUMBER: _ClassVar[int]
    CLOCK_ERROR_NS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    BUSY_WAIT_NS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    generation: int
    bundle_sha256: str
    clock_error_ns: int
    left_out: str
    busy_wait_ns: int
    def __init__(self, run_id: _Optional[str] = ..., generation: _Optional[int] = ..., bundle_sha256: _Optional[str] = ..., clock_error_ns: _Optional[int] = ..., left_out: _Optional[str] = ..., busy_wait_ns: _Optional[int] = ...) -> None: ...

class Fault(_message.Message):
    __slots__ = ("file", "line", "message", "hint")
    FILE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    file: str
    line: int
    message: str
    hint: str
    def __init__(self, file: _Optional[str] = ..., line: _Optional[int] = ..., message: _Optional[str] = ..., hint: _Optional[str] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("run_id", "reason", "faults")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    reason: str
    faults: _containers.RepeatedCompositeFieldContainer[Fault]
    def __init__(self, run_id: _Optional[str] = ..., reason: _Optional[str] = ..., faults: _Optional[_Iterable[_Union[Fault, _Mapping]]] = ...) -> None: ...

class SetUp(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class SetUpDone(_message.Message):
    __slots__ = ("run_id", "value_json", "error")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    VALUE_JSON_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    value_json: bytes
    error: str
    def __init__(self, run_id: _Optional[str] = ..., value_json: _Optional[bytes] = ..., error: _Optional[str] = ...) -> None: ...

class StartAt(_message.Message):
    __slots__ = ("run_id", "t0_ns", "shared_json", "from_ns", "since_ns")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    T0_NS_FIELD_NUMBER: _ClassVar[int]
    SHARED_JSON_FIELD_NUMBER: _ClassVar[int]
    FROM_NS_FIELD_NUMBER: _ClassVar[int]
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    t0_ns: int
    shared_json: bytes
    from_ns: int
    since_ns: int
    def __init__(self, run_id: _Optional[str] = ..., t0_ns: _Optional[int] = ..., shared_json: _Optional[bytes] = ..., from_ns: _Optional[int] = ..., since_ns: _Optional[int] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("start", "end", "duration_ns")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    start: float
    end: float
    duration_ns: int
    def __init__(self, start: _Optional[float] = ..., end: _Optional[float] = ..., duration_ns: _Optional[int] = ...) -> None: ...

class Adjust(_message.Message):
    __slots__ = ("run_id", "number", "load", "at_ns", "stages")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    number: int
    load: int
    at_ns: int
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    def __init__(self, run_id: _Optional[str] = ..., number: _Optional[int] = ..., load: _Optional[int] = ..., at_ns: _Optional[int] = ..., stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ...) -> None: ...

class Reassign(_message.Message):
    __slots__ = ("run_id", "number", "generation", "at_ns", "weights")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    number: int
    generation: int
    at_ns: int
    weights: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, run_id: _Optional[str] = ..., number: _Optional[int] = ..., generation: _Optional[int] = ..., at_ns: _Optional[int] = ..., weights: _Optional[_Iterable[float]] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("objective", "journey", "good", "bad", "slower")
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    GOOD_FIELD_NUMBER: _ClassVar[int]
    BAD_FIELD_NUMBER: _ClassVar[int]
    SLOWER_FIELD_NUMBER: _ClassVar[int]
    objective: int
    journey: str
    good: int
    bad: int
    slower: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, objective: _Optional[int] = ..., journey: _Optional[str] = ..., good: _Optional[int] = ..., bad: _Optional[int] = ..., slower: _Optional[_Iterable[int]] = ...) -> None: ...

class Look(_message.Message):
    __slots__ = ("from_s", "to_s", "rate_per_s", "due", "started", "finished", "parts", "observed_ms", "in_flight", "waiting", "unfit", "reported", "agents", "is_steady")
    FROM_S_FIELD_NUMBER: _ClassVar[int]
    TO_S_FIELD_NUMBER: _ClassVar[int]
    RATE_PER_S_FIELD_NUMBER: _ClassVar[int]
    DUE_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_MS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    UNFIT_FIELD_NUMBER: _ClassVar[int]
    REPORTED_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    IS_STEADY_FIELD_NUMBER: _ClassVar[int]
    from_s: float
    to_s: float
    rate_per_s: float
    due: int
    started: int
    finished: int
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    observed_ms: float
    in_flight: int
    waiting: int
    unfit: _containers.RepeatedScalarFieldContainer[str]
    reported: int
    agents: int
    is_steady: bool
    def __init__(self, from_s: _Optional[float] = ..., to_s: _Optional[float] = ..., rate_per_s: _Optional[float] = ..., due: _Optional[int] = ..., started: _Optional[int] = ..., finished: _Optional[int] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., observed_ms: _Optional[float] = ..., in_flight: _Optional[int] = ..., waiting: _Optional[int] = ..., unfit: _Optional[_Iterable[str]] = ..., reported: _Optional[int] = ..., agents: _Optional[int] = ..., is_steady: bool = ...) -> None: ...

class Steer(_message.Message):
    __slots__ = ("run_id", "load", "first", "count", "looks")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LOOKS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    load: int
    first: int
    count: int
    looks: _containers.RepeatedCompositeFieldContainer[Look]
    def __init__(self, run_id: _Optional[str] = ..., load: _Optional[int] = ..., first: _Optional[int] = ..., count: _Optional[int] = ..., looks: _Optional[_Iterable[_Union[Look, _Mapping]]] = ...) -> None: ...

class Steered(_message.Message):
    __slots__ = ("run_id", "load", "known", "rate_per_s", "ends", "why", "error", "finding_json")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    RATE_PER_S_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FINDING_JSON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    load: int
    known: int
    rate_per_s: float
    ends: bool
    why: str
    error: str
    finding_json: bytes
    def __init__(self, run_id: _Optional[str] = ..., load: _Optional[int] = ..., known: _Optional[int] = ..., rate_per_s: _Optional[float] = ..., ends: bool = ..., why: _Optional[str] = ..., error: _Optional[str] = ..., finding_json: _Optional[bytes] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("run_id", "phase", "last_seq_sent", "last_seq_acked", "note", "adjusted", "sent_ns", "leaves_ns")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_SENT_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_ACKED_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    ADJUSTED_FIELD_NUMBER: _ClassVar[int]
    SENT_NS_FIELD_NUMBER: _ClassVar[int]
    LEAVES_NS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    phase: str
    last_seq_sent: int
    last_seq_acked: int
    note: str
    adjusted: int
    sent_ns: int
    leaves_ns: int
    def __init__(self, run_id: _Optional[str] = ..., phase: _Optional[str] = ..., last_seq_sent: _Optional[int] = ..., last_seq_acked: _Optional[int] = ..., note: _Optional[str] = ..., adjusted: _Optional[int] = ..., sent_ns: _Optional[int] = ..., leaves_ns: _Optional[int] = ...) -> None: ...

class Tag(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class SeriesKey(_message.Message):
    __slots__ = ("kind", "journey", "step", "request", "outcome", "metric", "censored", "warmup", "tags")
    KIND_FIELD_NUMBER: _ClassVar[int]
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    CENSORED_FIELD_NUMBER: _ClassVar[int]
    WARMUP_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    kind: Kind
    journey: str
    step: str
    request: str
    outcome: str
    metric: Metric
    censored: bool
    warmup: bool
    tags: _containers.RepeatedCompositeFieldContainer[Tag]
    def __init__(self, kind: _Optional[_Union[Kind, str]] = ..., journey: _Optional[str] = ..., step: _Optional[str] = ..., request: _Optional[str] = ..., outcome: _Optional[str] = ..., metric: _Optional[_Union[Metric, str]] = ..., censored: bool = ..., warmup: bool = ..., tags: _Optional[_Iterable[_Union[Tag, _Mapping]]] = ...) -> None: ...

class Counters(_message.Message):
    __slots__ = ("requests_started", "requests_finished", "requests_errors", "requests_pool_limited", "iterations_due", "iterations_started", "iterations_finished", "iterations_missed", "iterations_cut_off", "iterations_errors", "script_faults", "bytes_received")
    REQUESTS_STARTED_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FINISHED_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_ERRORS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_POOL_LIMITED_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_DUE_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_STARTED_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FINISHED_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_MISSED_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_CUT_OFF_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_ERRORS_FIELD_NUMBER: _ClassVar[int]
    SCRIPT_FAULTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    requests_started: int
    requests_finished: int
    requests_errors: int
    requests_pool_limited: int
    iterations_due: int
    iterations_started: int
    iterations_finished: int
    iterations_missed: int
    iterations_cut_off: int
    iterations_errors: int
    script_faults: int
    bytes_received: int
    def __init__(self, requests_started: _Optional[int] = ..., requests_finished: _Optional[int] = ..., requests_errors: _Optional[int] = ..., requests_pool_limited: _Optional[int] = ..., iterations_due: _Optional[int] = ..., iterations_started: _Optional[int] = ..., iterations_finished: _Optional[int] = ..., iterations_missed: _Optional[int] = ..., iterations_cut_off: _Optional[int] = ..., iterations_errors: _Optional[int] = ..., script_faults: _Optional[int] = ..., bytes_received: _Optional[int] = ...) -> None: ...

class Health(_message.Message):
    __slots__ = ("users", "in_flight", "waiting", "loop_lag_p50_us", "loop_lag_p99_us", "loop_lag_max_us", "generator_lag_p99_us", "response_p99_us", "cpu_share", "rss_bytes", "unfit", "notes", "steal_share", "gc_max_us", "fds", "fd_limit", "ports", "port_limit", "memory_free_bytes", "unacked", "oldest_ms", "intervals", "unfit_intervals", "streams", "reads", "http_connections", "websockets", "tcp_connections")
    USERS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    LOOP_LAG_P50_US_FIELD_NUMBER: _ClassVar[int]
    LOOP_LAG_P99_US_FIELD_NUMBER: _ClassVar[int]
    LOOP_LAG_MAX_US_FIELD_NUMBER: _ClassVar[int]
    GENERATOR_LAG_P99_US_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_P99_US_FIELD_NUMBER: _ClassVar[int]
    CPU_SHARE_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    UNFIT_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    STEAL_SHARE_FIELD_NUMBER: _ClassVar[int]
    GC_MAX_US_FIELD_NUMBER: _ClassVar[int]
    FDS_FIELD_NUMBER: _ClassVar[int]
    FD_LIMIT_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    PORT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    UNACKED_FIELD_NUMBER: _ClassVar[int]
    OLDEST_MS_FIELD_NUMBER: _ClassVar[int]
    INTERVALS_FIELD_NUMBER: _ClassVar[int]
    UNFIT_INTERVALS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    HTTP_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    WEBSOCKETS_FIELD_NUMBER: _ClassVar[int]
    TCP_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    users: int
    in_flight: int
    waiting: int
    loop_lag_p50_us: int
    loop_lag_p99_us: int
    loop_lag_max_us: int
    generator_lag_p99_us: int
    response_p99_us: int
    cpu_share: float
    rss_bytes: int
    unfit: _containers.RepeatedScalarFieldContainer[str]
    notes: _containers.RepeatedScalarFieldContainer[str]
    steal_share: float
    gc_max_us: int
    fds: int
    fd_limit: int
    ports: int
    port_limit: int
    memory_free_bytes: int
    unacked: int
    oldest_ms: int
    intervals: int
    unfit_intervals: int
    streams: StreamHealth
    reads: ReadHealth
    http_connections: int
    websockets: int
    tcp_connections: int
    def __init__(self, users: _Optional[int] = ..., in_flight: _Optional[int] = ..., waiting: _Optional[int] = ..., loop_lag_p50_us: _Optional[int] = ..., loop_lag_p99_us: _Optional[int] = ..., loop_lag_max_us: _Optional[int] = ..., generator_lag_p99_us: _Optional[int] = ..., response_p99_us: _Optional[int] = ..., cpu_share: _Optional[float] = ..., rss_bytes: _Optional[int] = ..., unfit: _Optional[_Iterable[str]] = ..., notes: _Optional[_Iterable[str]] = ..., steal_share: _Optional[float] = ..., gc_max_us: _Optional[int] = ..., fds: _Optional[int] = ..., fd_limit: _Optional[int] = ..., ports: _Optional[int] = ..., port_limit: _Optional[int] = ..., memory_free_bytes: _Optional[int] = ..., unacked: _Optional[int] = ..., oldest_ms: _Optional[int] = ..., intervals: _Optional[int] = ..., unfit_intervals: _Optional[int] = ..., streams: _Optional[_Union[StreamHealth, _Mapping]] = ..., reads: _Optional[_Union[ReadHealth, _Mapping]] = ..., http_connections: _Optional[int] = ..., websockets: _Optional[int] = ..., tcp_connections: _Optional[int] = ...) -> None: ...

class ReadHealth(_message.Message):
    __slots__ = ("intervals", "kernel_reads", "loop_reads", "loop_connections", "jumps", "read_lag_p50_us", "read_lag_p99_us", "read_lag_max_us")
    INTERVALS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_READS_FIELD_NUMBER: _ClassVar[int]
    LOOP_READS_FIELD_NUMBER: _ClassVar[int]
    LOOP_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    JUMPS_FIELD_NUMBER: _ClassVar[int]
    READ_LAG_P50_US_FIELD_NUMBER: _ClassVar[int]
    READ_LAG_P99_US_FIELD_NUMBER: _ClassVar[int]
    READ_LAG_MAX_US_FIELD_NUMBER: _ClassVar[int]
    intervals: int
    kernel_reads: int
    loop_reads: int
    loop_connections: int
    jumps: int
    read_lag_p50_us: int
    read_lag_p99_us: int
    read_lag_max_us: int
    def __init__(self, intervals: _Optional[int] = ..., kernel_reads: _Optional[int] = ..., loop_reads: _Optional[int] = ..., loop_connections: _Optional[int] = ..., jumps: _Optional[int] = ..., read_lag_p50_us: _Optional[int] = ..., read_lag_p99_us: _Optional[int] = ..., read_lag_max_us: _Optional[int] = ...) -> None: ...

class StreamHealth(_message.Message):
    __slots__ = ("intervals", "unfit_ttft", "unfit_itl", "unfit_tpot", "streams", "kernel_reads", "loop_reads", "events", "shared_theirs", "shared_ours", "shared_unknown", "read_lag_p50_us", "read_lag_p99_us", "read_lag_max_us", "ttft_p50_us", "icl_p50_us")
    INTERVALS_FIELD_NUMBER: _ClassVar[int]
    UNFIT_TTFT_FIELD_NUMBER: _ClassVar[int]
    UNFIT_ITL_FIELD_NUMBER: _ClassVar[int]
    UNFIT_TPOT_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_READS_FIELD_NUMBER: _ClassVar[int]
    LOOP_READS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    SHARED_THEIRS_FIELD_NUMBER: _ClassVar[int]
    SHARED_OURS_FIELD_NUMBER: _ClassVar[int]
    SHARED_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    READ_LAG_P50_US_FIELD_NUMBER: _ClassVar[int]
    READ_LAG_P99_US_FIELD_NUMBER: _ClassVar[int]
    READ_LAG_MAX_US_FIELD_NUMBER: _ClassVar[int]
    TTFT_P50_US_FIELD_NUMBER: _ClassVar[int]
    ICL_P50_US_FIELD_NUMBER: _ClassVar[int]
    intervals: int
    unfit_ttft: int
    unfit_itl: int
    unfit_tpot: int
    streams: int
    kernel_reads: int
    loop_reads: int
    events: int
    shared_theirs: int
    shared_ours: int
    shared_unknown: int
    read_lag_p50_us: int
    read_lag_p99_us: int
    read_lag_max_us: int
    ttft_p50_us: int
    icl_p50_us: int
    def __init__(self, intervals: _Optional[int] = ..., unfit_ttft: _Optional[int] = ..., unfit_itl: _Optional[int] = ..., unfit_tpot: _Optional[int] = ..., streams: _Optional[int] = ..., kernel_reads: _Optional[int] = ..., loop_reads: _Optional[int] = ..., events: _Optional[int] = ..., shared_theirs: _Optional[int] = ..., shared_ours: _Optional[int] = ..., shared_unknown: _Optional[int] = ..., read_lag_p50_us: _Optional[int] = ..., read_lag_p99_us: _Optional[int] = ..., read_lag_max_us: _Optional[int] = ..., ttft_p50_us: _Optional[int] = ..., icl_p50_us: _Optional[int] = ...) -> None: ...

class DueCounts(_message.Message):
    __slots__ = ("objective", "journey", "k", "good", "bad", "overdue", "undecided", "total", "bounds")
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    GOOD_FIELD_NUMBER: _ClassVar[int]
    BAD_FIELD_NUMBER: _ClassVar[int]
    OVERDUE_FIELD_NUMBER: _ClassVar[int]
    UNDECIDED_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    objective: int
    journey: str
    k: int
    good: int
    bad: int
    overdue: int
    undecided: int
    total: int
    bounds: int
    def __init__(self, objective: _Optional[int] = ..., journey: _Optional[str] = ..., k: _Optional[int] = ..., good: _Optional[int] = ..., bad: _Optional[int] = ..., overdue: _Optional[int] = ..., undecided: _Optional[int] = ..., total: _Optional[int] = ..., bounds: _Optional[int] = ...) -> None: ...

class CustomStats(_message.Message):
    __slots__ = ("name", "kind", "n", "total", "low", "high", "last", "warmup", "tags")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    WARMUP_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    n: int
    total: int
    low: float
    high: float
    last: float
    warmup: bool
    tags: _containers.RepeatedCompositeFieldContainer[Tag]
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., n: _Optional[int] = ..., total: _Optional[int] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., last: _Optional[float] = ..., warmup: bool = ..., tags: _Optional[_Iterable[_Union[Tag, _Mapping]]] = ...) -> None: ...

class TracedExemplar(_message.Message):
    __slots__ = ("span", "sampled", "stands_for", "status", "first_byte_ns", "phases", "reused", "pool_limited", "unfit", "remote", "tags", "active_loads", "requests")
    SPAN_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_FIELD_NUMBER: _ClassVar[int]
    STANDS_FOR_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FIRST_BYTE_NS_FIELD_NUMBER: _ClassVar[int]
    PHASES_FIELD_NUMBER: _ClassVar[int]
    REUSED_FIELD_NUMBER: _ClassVar[int]
    POOL_LIMITED_FIELD_NUMBER: _ClassVar[int]
    UNFIT_FIELD_NUMBER: _ClassVar[int]
    REMOTE_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_LOADS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    span: str
    sampled: bool
    stands_for: float
    status: int
    first_byte_ns: int
    phases: _containers.RepeatedScalarFieldContainer[int]
    reused: bool
    pool_limited: bool
    unfit: bool
    remote: str
    tags: _containers.RepeatedCompositeFieldContainer[Tag]
    active_loads: _containers.RepeatedScalarFieldContainer[int]
    requests: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, span: _Optional[str] = ..., sampled: bool = ..., stands_for: _Optional[float] = ..., status: _Optional[int] = ..., first_byte_ns: _Optional[int] = ..., phases: _Optional[_Iterable[int]] = ..., reused: bool = ..., pool_limited: bool = ..., unfit: bool = ..., remote: _Optional[str] = ..., tags: _Optional[_Iterable[_Union[Tag, _Mapping]]] = ..., active_loads: _Optional[_Iterable[int]] = ..., requests: _Optional[_Iterable[str]] = ...) -> None: ...

class Exemplar(_message.Message):
    __slots__ = ("journey", "step", "request", "outcome", "why", "load", "n", "at_ns", "response_ns", "service_ns", "trace", "warmup", "note", "traced")
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_NS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_NS_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    WARMUP_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    TRACED_FIELD_NUMBER: _ClassVar[int]
    journey: str
    step: str
    request: str
    outcome: str
    why: str
    load: int
    n: int
    at_ns: int
    response_ns: int
    service_ns: int
    trace: str
    warmup: bool
    note: str
    traced: TracedExemplar
    def __init__(self, journey: _Optional[str] = ..., step: _Optional[str] = ..., request: _Optional[str] = ..., outcome: _Optional[str] = ..., why: _Optional[str] = ..., load: _Optional[int] = ..., n: _Optional[int] = ..., at_ns: _Optional[int] = ..., response_ns: _Optional[int] = ..., service_ns: _Optional[int] = ..., trace: _Optional[str] = ..., warmup: bool = ..., note: _Optional[str] = ..., traced: _Optional[_Union[TracedExemplar, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("journey", "step", "request", "outcome", "load", "n", "at_ns", "response_ns", "detail", "where", "traceback", "row", "sent", "received", "trace", "note")
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_NS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    journey: str
    step: str
    request: str
    outcome: str
    load: int
    n: int
    at_ns: int
    response_ns: int
    detail: str
    where: str
    traceback: str
    row: str
    sent: str
    received: str
    trace: str
    note: str
    def __init__(self, journey: _Optional[str] = ..., step: _Optional[str] = ..., request: _Optional[str] = ..., outcome: _Optional[str] = ..., load: _Optional[int] = ..., n: _Optional[int] = ..., at_ns: _Optional[int] = ..., response_ns: _Optional[int] = ..., detail: _Optional[str] = ..., where: _Optional[str] = ..., traceback: _Optional[str] = ..., row: _Optional[str] = ..., sent: _Optional[str] = ..., received: _Optional[str] = ..., trace: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class KeptStream(_message.Message):
    __slots__ = ("journey", "step", "request", "outcome", "why", "clock", "load", "n", "at_ns", "wait_ns", "send_ns", "end_ns", "prompt_tokens", "output_tokens", "hidden_tokens", "warmup", "trace", "gaps_ns", "kinds", "tokens", "joined")
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    WAIT_NS_FIELD_NUMBER: _ClassVar[int]
    SEND_NS_FIELD_NUMBER: _ClassVar[int]
    END_NS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    WARMUP_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    GAPS_NS_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    journey: str
    step: str
    request: str
    outcome: str
    why: str
    clock: str
    load: int
    n: int
    at_ns: int
    wait_ns: int
    send_ns: int
    end_ns: int
    prompt_tokens: int
    output_tokens: int
    hidden_tokens: int
    warmup: bool
    trace: str
    gaps_ns: _containers.RepeatedScalarFieldContainer[int]
    kinds: str
    tokens: _containers.RepeatedScalarFieldContainer[int]
    joined: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, journey: _Optional[str] = ..., step: _Optional[str] = ..., request: _Optional[str] = ..., outcome: _Optional[str] = ..., why: _Optional[str] = ..., clock: _Optional[str] = ..., load: _Optional[int] = ..., n: _Optional[int] = ..., at_ns: _Optional[int] = ..., wait_ns: _Optional[int] = ..., send_ns: _Optional[int] = ..., end_ns: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., hidden_tokens: _Optional[int] = ..., warmup: bool = ..., trace: _Optional[str] = ..., gaps_ns: _Optional[_Iterable[int]] = ..., kinds: _Optional[str] = ..., tokens: _Optional[_Iterable[int]] = ..., joined: _Optional[_Iterable[int]] = ...) -> None: ...

class LoadCounts(_message.Message):
    __slots__ = ("load", "started", "missed", "waiting", "users")
    LOAD_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    MISSED_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    load: int
    started: int
    missed: int
    waiting: int
    users: int
    def __init__(self, load: _Optional[int] = ..., started: _Optional[int] = ..., missed: _Optional[int] = ..., waiting: _Optional[int] = ..., users: _Optional[int] = ...) -> None: ...

class SamplingCounts(_message.Message):
    __slots__ = ("rejected", "decisions", "sampled")
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_FIELD_NUMBER: _ClassVar[int]
    rejected: int
    decisions: int
    sampled: int
    def __init__(self, rejected: _Optional[int] = ..., decisions: _Optional[int] = ..., sampled: _Optional[int] = ...) -> None: ...

class FirstArrival(_message.Message):
    __slots__ = ("load", "number", "n")
    LOAD_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    load: int
    number: int
    n: int
    def __init__(self, load: _Optional[int] = ..., number: _Optional[int] = ..., n: _Optional[int] = ...) -> None: ...

class WorkerHealth(_message.Message):
    __slots__ = ("worker", "iterations_started", "health")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_STARTED_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    worker: int
    iterations_started: int
    health: Health
    def __init__(self, worker: _Optional[int] = ..., iterations_started: _Optional[int] = ..., health: _Optional[_Union[Health, _Mapping]] = ...) -> None: ...

class Loss(_message.Message):
    __slots__ = ("worker", "workers", "died_ns", "told_ns", "resumed_ns", "in_flight", "cause", "left_out")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    DIED_NS_FIELD_NUMBER: _ClassVar[int]
    TOLD_NS_FIELD_NUMBER: _ClassVar[int]
    RESUMED_NS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    worker: int
    workers: int
    died_ns: int
    told_ns: int
    resumed_ns: int
    in_flight: int
    cause: str
    left_out: str
    def __init__(self, worker: _Optional[int] = ..., workers: _Optional[int] = ..., died_ns: _Optional[int] = ..., told_ns: _Optional[int] = ..., resumed_ns: _Optional[int] = ..., in_flight: _Optional[int] = ..., cause: _Optional[str] = ..., left_out: _Optional[str] = ...) -> None: ...

class Delta(_message.Message):
    __slots__ = ("agent", "epoch", "seq", "start_ns", "end_ns", "new_series", "index", "count", "stats_series", "stats_n", "stats_sum_ns", "stats_min_ns", "stats_max_ns", "counters", "health", "run_id", "exemplars", "failures", "due", "loads", "first_arrivals", "streams", "streams_left_out", "custom", "workers", "losses", "sampled_series", "sampled_n", "sampled_sum_ns", "others_n", "others_sum_ns", "sampling")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    START_NS_FIELD_NUMBER: _ClassVar[int]
    END_NS_FIELD_NUMBER: _ClassVar[int]
    NEW_SERIES_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    STATS_SERIES_FIELD_NUMBER: _ClassVar[int]
    STATS_N_FIELD_NUMBER: _ClassVar[int]
    STATS_SUM_NS_FIELD_NUMBER: _ClassVar[int]
    STATS_MIN_NS_FIELD_NUMBER: _ClassVar[int]
    STATS_MAX_NS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EXEMPLARS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    DUE_FIELD_NUMBER: _ClassVar[int]
    LOADS_FIELD_NUMBER: _ClassVar[int]
    FIRST_ARRIVALS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_SERIES_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_N_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_SUM_NS_FIELD_NUMBER: _ClassVar[int]
    OTHERS_N_FIELD_NUMBER: _ClassVar[int]
    OTHERS_SUM_NS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    agent: str
    epoch: int
    seq: int
    start_ns: int
    end_ns: int
    new_series: _containers.RepeatedCompositeFieldContainer[SeriesKey]
    index: bytes
    count: bytes
    stats_series: _containers.RepeatedScalarFieldContainer[int]
    stats_n: _containers.RepeatedScalarFieldContainer[int]
    stats_sum_ns: _containers.RepeatedScalarFieldContainer[int]
    stats_min_ns: _containers.RepeatedScalarFieldContainer[int]
    stats_max_ns: _containers.RepeatedScalarFieldContainer[int]
    counters: Counters
    health: Health
    run_id: str
    exemplars: _containers.RepeatedCompositeFieldContainer[Exemplar]
    failures: _containers.RepeatedCompositeFieldContainer[Failure]
    due: _containers.RepeatedCompositeFieldContainer[DueCounts]
    loads: _containers.RepeatedCompositeFieldContainer[LoadCounts]
    first_arrivals: _containers.RepeatedCompositeFieldContainer[FirstArrival]
    streams: _containers.RepeatedCompositeFieldContainer[KeptStream]
    streams_left_out: int
    custom: _containers.RepeatedCompositeFieldContainer[CustomStats]
    workers: _containers.RepeatedCompositeFieldContainer[WorkerHealth]
    losses: _containers.RepeatedCompositeFieldContainer[Loss]
    sampled_series: _containers.RepeatedScalarFieldContainer[int]
    sampled_n: _containers.RepeatedScalarFieldContainer[int]
    sampled_sum_ns: _containers.RepeatedScalarFieldContainer[int]
    others_n: _containers.RepeatedScalarFieldContainer[int]
    others_sum_ns: _containers.RepeatedScalarFieldContainer[int]
    sampling: _containers.RepeatedCompositeFieldContainer[SamplingCounts]
    def __init__(self, agent: _Optional[str] = ..., epoch: _Optional[int] = ..., seq: _Optional[int] = ..., start_ns: _Optional[int] = ..., end_ns: _Optional[int] = ..., new_series: _Optional[_Iterable[_Union[SeriesKey, _Mapping]]] = ..., index: _Optional[bytes] = ..., count: _Optional[bytes] = ..., stats_series: _Optional[_Iterable[int]] = ..., stats_n: _Optional[_Iterable[int]] = ..., stats_sum_ns: _Optional[_Iterable[int]] = ..., stats_min_ns: _Optional[_Iterable[int]] = ..., stats_max_ns: _Optional[_Iterable[int]] = ..., counters: _Optional[_Union[Counters, _Mapping]] = ..., health: _Optional[_Union[Health, _Mapping]] = ..., run_id: _Optional[str] = ..., exemplars: _Optional[_Iterable[_Union[Exemplar, _Mapping]]] = ..., failures: _Optional[_Iterable[_Union[Failure, _Mapping]]] = ..., due: _Optional[_Iterable[_Union[DueCounts, _Mapping]]] = ..., loads: _Optional[_Iterable[_Union[LoadCounts, _Mapping]]] = ..., first_arrivals: _Optional[_Iterable[_Union[FirstArrival, _Mapping]]] = ..., streams: _Optional[_Iterable[_Union[KeptStream, _Mapping]]] = ..., streams_left_out: _Optional[int] = ..., custom: _Optional[_Iterable[_Union[CustomStats, _Mapping]]] = ..., workers: _Optional[_Iterable[_Union[WorkerHealth, _Mapping]]] = ..., losses: _Optional[_Iterable[_Union[Loss, _Mapping]]] = ..., sampled_series: _Optional[_Iterable[int]] = ..., sampled_n: _Optional[_Iterable[int]] = ..., sampled_sum_ns: _Optional[_Iterable[int]] = ..., others_n: _Optional[_Iterable[int]] = ..., others_sum_ns: _Optional[_Iterable[int]] = ..., sampling: _Optional[_Iterable[_Union[SamplingCounts, _Mapping]]] = ...) -> None: ...

class WaitingAt(_message.Message):
    __slots__ = ("load", "name", "users", "arrived", "gone")
    LOAD_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    ARRIVED_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    load: int
    name: str
    users: int
    arrived: int
    gone: int
    def __init__(self, load: _Optional[int] = ..., name: _Optional[str] = ..., users: _Optional[int] = ..., arrived: _Optional[int] = ..., gone: _Optional[int] = ...) -> None: ...

class Waiting(_message.Message):
    __slots__ = ("run_id", "worker", "life", "points")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    LIFE_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    worker: int
    life: int
    points: _containers.RepeatedCompositeFieldContainer[WaitingAt]
    def __init__(self, run_id: _Optional[str] = ..., worker: _Optional[int] = ..., life: _Optional[int] = ..., points: _Optional[_Iterable[_Union[WaitingAt, _Mapping]]] = ...) -> None: ...

class ReleaseAt(_message.Message):
    __slots__ = ("run_id", "worker", "life", "load", "point", "upto", "at_ns")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    LIFE_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    POINT_FIELD_NUMBER: _ClassVar[int]
    UPTO_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    worker: int
    life: int
    load: int
    point: str
    upto: int
    at_ns: int
    def __init__(self, run_id: _Optional[str] = ..., worker: _Optional[int] = ..., life: _Optional[int] = ..., load: _Optional[int] = ..., point: _Optional[str] = ..., upto: _Optional[int] = ..., at_ns: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("run_id", "epoch", "seq", "interval_ns")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_NS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    epoch: int
    seq: int
    interval_ns: int
    def __init__(self, run_id: _Optional[str] = ..., epoch: _Optional[int] = ..., seq: _Optional[int] = ..., interval_ns: _Optional[int] = ...) -> None: ...

class Stop(_message.Message):
    __slots__ = ("run_id", "reason", "now", "kill", "at_ns")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    KILL_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    reason: str
    now: bool
    kill: bool
    at_ns: int
    def __init__(self, run_id: _Optional[str] = ..., reason: _Optional[str] = ..., now: bool = ..., kill: bool = ..., at_ns: _Optional[int] = ...) -> None: ...

class Fin(_message.Message):
    __slots__ = ("run_id", "epoch", "last_seq", "totals", "recorded", "started_at_ns", "reason", "ending")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    RECORDED_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    epoch: int
    last_seq: int
    totals: Counters
    recorded: int
    started_at_ns: int
    reason: str
    ending: Ending
    def __init__(self, run_id: _Optional[str] = ..., epoch: _Optional[int] = ..., last_seq: _Optional[int] = ..., totals: _Optional[_Union[Counters, _Mapping]] = ..., recorded: _Optional[int] = ..., started_at_ns: _Optional[int] = ..., reason: _Optional[str] = ..., ending: _Optional[_Union[Ending, str]] = ...) -> None: ...

class TearDown(_message.Message):
    __slots__ = ("run_id", "shared_json")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SHARED_JSON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    shared_json: bytes
    def __init__(self, run_id: _Optional[str] = ..., shared_json: _Optional[bytes] = ...) -> None: ...

class TornDown(_message.Message):
    __slots__ = ("run_id", "error")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    error: str
    def __init__(self, run_id: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class Bye(_message.Message):
    __slots__ = ("run_id", "leave")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    LEAVE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    leave: bool
    def __init__(self, run_id: _Optional[str] = ..., leave: bool = ...) -> None: ...
