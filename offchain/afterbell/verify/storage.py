"""Read words from the contracts at one block: views that return the stored word as it is.

Must not: interpret a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from afterbell.domain.hashing import keccak
from afterbell.verify.progress import Steps
from afterbell.verify.rpc import RpcClient, RpcFailed

N_WORDS_PER_QUERY: Final = 400


class StorageReader:
    """Ask many views of one block at once."""

    def __init__(self, client: RpcClient, block: int, steps: Steps) -> None:
        self._client = client
        self._block = block
        self._steps = steps

    def read_words(self, what: str, contract: bytes, view: str, arguments: Sequence[Sequence[int]]) -> list[int]:
        """Return the word of view(*arguments) for every list of arguments. `view` is a signature."""
        return [
            int.from_bytes(answer, "big") for answer in self.read_structs(what, contract, view, arguments, n_words=1)
        ]

    def read_structs(
        self, what: str, contract: bytes, view: str, arguments: Sequence[Sequence[int]], *, n_words: int
    ) -> list[bytes]:
        """Return the n_words words that view(*arguments) returns, for every list of arguments."""
        selector = keccak(view.encode())[:4]
        calls = [(contract, selector + b"".join(argument.to_bytes(32, "big") for argument in one)) for one in arguments]
        if len(calls) > 1:
            self._steps.begin(what, len(calls))
        answers: list[bytes] = []
        for start in range(0, len(calls), N_WORDS_PER_QUERY):
            some = calls[start : start + N_WORDS_PER_QUERY]
            for answer in self._client.call_words(some, self._block):
                if len(answer) != 32 * n_words:
                    raise RpcFailed(self._client.url, f"{32 * n_words} bytes from {view}", f"{len(answer)} bytes")
                answers.append(answer)
            self._steps.advance(len(some))
        return answers

    def read_string(self, contract: bytes, view: str, *arguments: int) -> str:
        """Return the text of one view."""
        call = keccak(view.encode())[:4] + b"".join(argument.to_bytes(32, "big") for argument in arguments)
        [answer] = self._client.call_words([(contract, call)], self._block)
        length = int.from_bytes(answer[32:64], "big")
        return answer[64 : 64 + length].decode("utf-8", "replace")

    def read_word(self, contract: bytes, view: str, *arguments: int) -> int:
        """Return the word of one view."""
        return self.read_words(view, contract, view, [arguments])[0]
