"""The prefix cache: which leading blocks of a prompt the server has seen before.

A block has 16 tokens, as in vLLM. A prompt hits its longest prefix of cached blocks. The oldest blocks are dropped when
the cache is full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["BLOCK_TOKENS", "PrefixCache"]

BLOCK_TOKENS: Final = 16


class PrefixCache:
    """Holds the hashes of blocks, each of which includes the hash of the block before it."""

    def __init__(self, tokens_per_word: float, capacity_blocks: int = 65_536) -> None:
        self._words_per_block = BLOCK_TOKENS / tokens_per_word
        self._capacity_blocks = capacity_blocks
        self._blocks: dict[int, None] = {}
        self.queried_tokens = self.hit_tokens = 0

    @property
    def used_ratio(self) -> float:
        """Return the share of the cache that is in use, from 0 to 1."""
        return len(self._blocks) / self._capacity_blocks

    def lookup(self, model: str, words: Sequence[str], prompt_tokens: int) -> int:
        """Return how many leading tokens of the prompt are cached, and add its blocks to the cache.

        The last token is never cached: the server must compute it to begin the answer.
        """
        blocks = self._blocks
        chain, hits, is_prefix = hash(model), 0, True
        count = max(0, prompt_tokens - 1) // BLOCK_TOKENS
        for at in range(prompt_tokens // BLOCK_TOKENS):
            begin, end = int(at * self._words_per_block), int((at + 1) * self._words_per_block)
            chain = hash((chain, *words[begin:end]))
            is_prefix = is_prefix and chain in blocks
            hits += is_prefix and at < count
            blocks.pop(chain, None)
            blocks[chain] = None
        while len(blocks) > self._capacity_blocks:
            del blocks[next(iter(blocks))]
        cached = hits * BLOCK_TOKENS
        self.queried_tokens += prompt_tokens
        self.hit_tokens += cached
        return cached
