"""llama.cpp's HTTP server with a random model: `python llama_cpp_server.py FOLDER` prints its URL.

Run by the Python of `.tools/llama-cpp`, which `make engine` installs: xllamacpp contains llama.cpp's server, and gguf
writes model files. The model has 480 kB, random weights, and a vocabulary of letters and bytes. So its answers make no
sense, but the server is real: it loads, schedules, decodes and streams as with any model.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Final

import gguf
import numpy as np
import xllamacpp

WIDTH: Final = 64
HEADS: Final = 4
LAYERS: Final = 2
INNER: Final = 128
CONTEXT: Final = 4096
SPECIAL: Final = ["<unk>", "<s>", "</s>"]
BYTES: Final = [f"<0x{byte:02X}>" for byte in range(256)]
LETTERS: Final = ["\u2581", *"abcdefghijklmnopqrstuvwxyz"]


def write_model(path: Path) -> None:
    """Write a Llama model of random weights. The same bytes each time."""
    tokens = [*SPECIAL, *BYTES, *LETTERS]
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    kinds = gguf.TokenType
    unknown, control = [int(kinds.UNKNOWN)], [int(kinds.CONTROL)] * 2
    writer.add_token_types([*unknown, *control, *([int(kinds.BYTE)] * 256), *([int(kinds.NORMAL)] * len(LETTERS))])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    def weights(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", random.standard_normal(shape).astype(np.float32) * 0.1)

    def ones(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))

    weights("token_embd", len(tokens), WIDTH)
    weights("output", len(tokens), WIDTH)
    ones("output_norm")
    for layer in (f"blk.{n}" for n in range(LAYERS)):
        ones(f"{layer}.attn_norm")
        ones(f"{layer}.ffn_norm")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights(f"{layer}.{part}", WIDTH, WIDTH)
        weights(f"{layer}.ffn_gate", INNER, WIDTH)
        weights(f"{layer}.ffn_up", INNER, WIDTH)
        weights(f"{layer}.ffn_down", WIDTH, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(folder: Path) -> None:
    model = folder / "random.gguf"
    write_model(model)
    settings = xllamacpp.CommonParams()
    settings.model.path = str(model)
    settings.n_ctx = CONTEXT
    settings.n_parallel = 2
    settings.cpuparams.n_threads = 1
    settings.warmup = False  # its own first decoding would hide what a first request costs
    server = xllamacpp.Server(settings)
    print(f"listening at {server.listening_address}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
