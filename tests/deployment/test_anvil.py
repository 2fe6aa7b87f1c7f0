"""The chain as a process: its clock is the venue's, its state survives a stop."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from afterbell.adapters.anvil import Anvil, AnvilFailed, SavedStateUnreadable

GENESIS_S = 1_109_683_800  # 2005-03-01 13:30 UTC


def _block(anvil: Anvil) -> tuple[int, int]:
    block = anvil.call("eth_getBlockByNumber", "latest", False)
    assert isinstance(block, dict)
    return int(block["number"], 16), int(block["timestamp"], 16)


def _send(anvil: Anvil) -> None:
    sender, receiver, *_ = anvil.call("eth_accounts")
    transaction = anvil.call("eth_sendTransaction", {"from": sender, "to": receiver, "value": "0x1"})
    # The hash is returned before the block is made.
    while anvil.call("eth_getTransactionReceipt", transaction) is None:
        time.sleep(0.005)


def test_block_time__nobody_sets_it__one_second_after_the_parent(tmp_path: Path) -> None:
    with Anvil.start(genesis_s=GENESIS_S, log_path=tmp_path / "anvil.log") as anvil:
        _send(anvil)
        _send(anvil)

        assert _block(anvil) == (2, GENESIS_S + 2)


def test_block_time__set_for_the_next_block__holds_once(tmp_path: Path) -> None:
    with Anvil.start(genesis_s=GENESIS_S, log_path=tmp_path / "anvil.log") as anvil:
        anvil.call("evm_setNextBlockTimestamp", GENESIS_S + 600)
        _send(anvil)
        set_time = _block(anvil)
        _send(anvil)

        assert (set_time, _block(anvil)) == ((1, GENESIS_S + 600), (2, GENESIS_S + 601))


def test_block_time__set_into_the_past__is_refused(tmp_path: Path) -> None:
    with Anvil.start(genesis_s=GENESIS_S, log_path=tmp_path / "anvil.log") as anvil:
        _send(anvil)

        with pytest.raises(AnvilFailed, match="lower than previous"):
            anvil.call("evm_setNextBlockTimestamp", GENESIS_S)


def test_state__saved_and_started_again__goes_on_from_the_last_block(tmp_path: Path) -> None:
    state = tmp_path / "anvil-state.json"
    first = Anvil.start(genesis_s=GENESIS_S, log_path=tmp_path / "anvil.log", state_path=state)
    first.call("evm_setNextBlockTimestamp", GENESIS_S + 86_400)
    _send(first)
    first.stop(is_saving=True)

    with Anvil.start(genesis_s=7, log_path=tmp_path / "anvil.log", state_path=state) as second:
        resumed = _block(second)
        _send(second)

        assert (resumed, _block(second)) == ((1, GENESIS_S + 86_400), (2, GENESIS_S + 86_401))


def test_state__not_whole__is_named_and_nothing_starts(tmp_path: Path) -> None:
    state = tmp_path / "anvil-state.json"
    state.write_text('{"block": {"timest')

    with pytest.raises(SavedStateUnreadable, match=r"anvil-state\.json"):
        Anvil.start(genesis_s=GENESIS_S, log_path=tmp_path / "anvil.log", state_path=state)


def test_start__port_taken__says_so(tmp_path: Path) -> None:
    with (
        Anvil.start(genesis_s=GENESIS_S, log_path=tmp_path / "first.log") as first,
        pytest.raises(AnvilFailed, match="in use"),
    ):
        Anvil.start(genesis_s=GENESIS_S, log_path=tmp_path / "second.log", port=first.port)
