"""The private names of the h2 library that `loadgen/clients/protocol/http2.py` uses exist and behave as used.

If one of these tests fails after an update of h2, change http2.py or keep the older h2 (`h2<5` in pyproject.toml).
"""

import inspect
from typing import Any, ClassVar

import pytest
from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.events import Event, ResponseReceived
from h2.exceptions import ProtocolError
from h2.frame_buffer import FrameBuffer
from h2.settings import SettingCodes, Settings
from h2.windows import WindowManager
from hpack import Decoder, Encoder
from hpack.table import HeaderTable
from hyperframe.frame import DataFrame, Frame

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"shop.test"), (b":path", b"/")]


def client() -> H2Connection:
    connection = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    connection.initiate_connection()
    connection.data_to_send()
    return connection


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (
            H2Connection,
            "receive_data send_headers send_data end_stream reset_stream data_to_send increment_flow_control_window "
            "local_flow_control_window close_connection MAX_CLOSED_STREAMS",
        ),
        (H2ConnectionStateMachine, "process_input"),
        (FrameBuffer, "add_data __next__"),
        (WindowManager, "window_consumed"),
        (Encoder, "encode add"),
        (Decoder, "decode"),
        (HeaderTable, "add get_by_index STATIC_TABLE_LENGTH"),
        (AllowedStreamIDs, "ODD EVEN"),
        (ConnectionState, "CLIENT_OPEN"),
        (ConnectionInputs, "SEND_HEADERS SEND_DATA RECV_HEADERS RECV_DATA RECV_GOAWAY"),
    ],
)
def test_the_names_exist(owner: type, names: str) -> None:
    assert [name for name in names.split() if not hasattr(owner, name)] == []


def test_a_connection_has_the_attributes_that_we_replace() -> None:
    connection = client()
    assert type(connection.state_machine) is H2ConnectionStateMachine
    assert type(connection.incoming_buffer) is FrameBuffer
    assert isinstance(connection.encoder, Encoder)
    assert isinstance(connection.decoder, Decoder)
    assert isinstance(connection.local_settings, Settings)
    assert isinstance(connection._inbound_flow_control_window_manager, WindowManager)
    assert connection.max_inbound_frame_size >= 16_384
    assert connection.encoder.header_table.maxsize == 4096
    assert connection.encoder.table_size_changes == []


def test_the_base_classes_take_the_arguments_that_we_pass() -> None:
    assert list(inspect.signature(FrameBuffer.__init__).parameters) == ["self", "server"]
    assert list(inspect.signature(FrameBuffer.add_data).parameters) == ["self", "data"]
    assert list(inspect.signature(H2ConnectionStateMachine.process_input).parameters)[1:] == ["input_"]
    assert list(inspect.signature(Encoder.encode).parameters) == ["self", "headers", "huffman"]
    assert list(inspect.signature(Encoder.add).parameters) == ["self", "to_add", "sensitive", "huffman"]
    assert list(inspect.signature(Decoder.decode).parameters) == ["self", "data", "raw"]


def test_receive_data_reads_frames_by_iterating_over_the_buffer() -> None:
    connection = client()
    seen: list[bytes] = []

    class Buffer(FrameBuffer):
        def add_data(self, data: Any) -> None:
            seen.append(bytes(data))
            super().add_data(data)

    connection.incoming_buffer = Buffer(server=False)
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    assert connection.receive_data(settings) != []
    assert seen == [settings]


def test_a_frame_from_the_buffer_is_processed_by_its_class_flags_and_length() -> None:
    connection = client()
    connection.send_headers(1, GET, end_stream=True)
    head = b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88"
    (event,) = connection.receive_data(head)
    assert isinstance(event, ResponseReceived)
    assert event.stream_id == 1

    class Buffer(FrameBuffer):
        frames: ClassVar[list[Frame]] = []

        def __next__(self) -> Frame:
            if not self.frames:
                raise StopIteration
            return self.frames.pop()

    connection.incoming_buffer = buffer = Buffer(server=False)
    frame = DataFrame(1)
    frame.data = b"abc"
    frame.body_len = 3
    frame._body_repr = str  # type: ignore[method-assign]
    frame.flags.add("END_STREAM")
    buffer.frames.append(frame)
    events: list[Any] = connection.receive_data(b"")
    received, ended = events
    assert (received.data, received.flow_controlled_length, ended.stream_id) == (b"abc", 3, 1)


def test_the_library_formats_received_frames_by_this_method_of_the_frame() -> None:
    frame = DataFrame(1)
    frame.data = b"abc"
    frame._body_repr = lambda: "ours"  # type: ignore[method-assign]
    assert "ours" in repr(frame)


def test_a_state_machine_that_ignores_goaway_lets_answers_through() -> None:
    connection = client()
    connection.send_headers(1, GET, end_stream=True)
    goaway = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + b"\x00\x00\x00\x01" + b"\x00\x00\x00\x00"
    head = b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88"

    class Goes(H2ConnectionStateMachine):
        def process_input(self, input_: ConnectionInputs) -> list[Event]:
            return [] if input_ is ConnectionInputs.RECV_GOAWAY else super().process_input(input_)

    plain = client()
    plain.send_headers(1, GET, end_stream=True)
    plain.receive_data(goaway)
    with pytest.raises(ProtocolError):
        plain.receive_data(head)
    connection.state_machine = Goes()
    connection.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
    connection.receive_data(goaway)
    assert [type(event) for event in connection.receive_data(head)] == [ResponseReceived]


def test_settings_can_lose_a_code_and_unknown_codes_are_stored() -> None:
    connection = client()
    del connection.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]
    connection.receive_data(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00" + b"\xab\xcd" + b"\x00\x00\x00\x01")
    assert connection.remote_settings[0xABCD] == 1
    del connection.remote_settings[0xABCD]


def test_the_window_manager_counts_consumed_bytes() -> None:
    connection = client()
    before = connection.remote_flow_control_window(1) if connection.streams else connection.inbound_flow_control_window
    connection._inbound_flow_control_window_manager.window_consumed(1000)
    assert before - connection.inbound_flow_control_window == 1000
