"""Compare what keys and direct operations left: overflow words, key words, rules and what follows them, approvals.

Must not: fetch more than the words it compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from afterbell.domain.ids import (
    overflow_key,
    rules_binds_after_key,
    rules_key,
    rules_successor_key,
    session_key_id,
    tier_key,
)
from afterbell.domain.session import MAX_SESSION
from afterbell.verify.fold import EventLedger
from afterbell.verify.instance import Instance
from afterbell.verify.layout import OVERFLOW, RULES, SESSION_KEY, TIERS, Lane, show_lane
from afterbell.verify.replay import Replay
from afterbell.verify.storage import StorageReader
from afterbell.verify.witnesses import Subject, Witnesses

BINDS_AFTER: Final = (Lane(name="binds_after_s", unit="UNIX s", offset=0, n_bits=256),)
IS_APPROVED: Final = (Lane(name="is_approved", unit="yes or no", offset=0, n_bits=256),)
_MAX_ADDRESS: Final = (1 << 160) - 1
# The view takes the market's number; these two added to it lead to the words beside (contracts/README.md, "Words").
_SUCCESSOR: Final = 1 << 8
_BINDS_AFTER: Final = 1 << 9
_TIERS: Final = 1 << 10


def compare_direct_words(
    witnesses: Witnesses,
    reader: StorageReader,
    instance: Instance,
    replay: Replay,
    ledger: EventLedger,
    markets: Sequence[int],
) -> None:
    """Compare every such word that replay or events know of."""
    _compare_overflows(witnesses, reader, instance, replay, ledger)
    _compare_session_keys(witnesses, reader, instance, replay, ledger)
    _compare_rules(witnesses, reader, instance, replay, ledger, markets)
    _compare_approvals(witnesses, reader, instance, replay, ledger)


def _tell(lanes: tuple[Lane, ...], word: int) -> dict[str, str]:
    return {lane.name: show_lane(lane, word) for lane in lanes}


def _compare_overflows(
    witnesses: Witnesses, reader: StorageReader, instance: Instance, replay: Replay, ledger: EventLedger
) -> None:
    accounts = sorted({key >> 16 for key in replay.state.overflows} | set(ledger.overflows))
    words = reader.read_words(
        "overflow words", instance.clearinghouse, "overflow_word(uint256)", [(one,) for one in accounts]
    )
    for account, word in zip(accounts, words, strict=True):
        expected = replay.state.overflows.get(overflow_key(account), 0)
        told = _tell(OVERFLOW, ledger.overflows.get(account, 0))
        witnesses.compare(Subject(what="overflow", account=account), OVERFLOW, expected, told, word)


def _compare_session_keys(
    witnesses: Witnesses, reader: StorageReader, instance: Instance, replay: Replay, ledger: EventLedger
) -> None:
    replayed = {(entry >> 160, (entry & _MAX_ADDRESS).to_bytes(20, "big")) for entry in replay.state.session_keys}
    keys = sorted(replayed | set(ledger.session_keys))
    arguments = [(account, int.from_bytes(key, "big")) for account, key in keys]
    words = reader.read_words(
        "session key words", instance.clearinghouse, "session_key_word(uint256,address)", arguments
    )
    for (account, key), word in zip(keys, words, strict=True):
        subject = Subject(what="session key", account=account, note="0x" + key.hex())
        expected = replay.state.session_keys.get(session_key_id(account, key), 0)
        told = _tell(SESSION_KEY, ledger.session_keys.get((account, key), 0))
        witnesses.compare(subject, SESSION_KEY, expected, told, word)


def _compare_rules(
    witnesses: Witnesses,
    reader: StorageReader,
    instance: Instance,
    replay: Replay,
    ledger: EventLedger,
    markets: Sequence[int],
) -> None:
    """Compare the word in force, the one that follows, when it binds, and what the registry says it set last."""
    rules, view = replay.state.rules, "rules_word(uint256,uint256)"
    every = [(market, session) for market in markets for session in range(MAX_SESSION + 1)]
    tables = {
        added: reader.read_words(
            "rules words", instance.clearinghouse, view, [(market + added, session) for market, session in every]
        )
        for added in (0, _SUCCESSOR, _BINDS_AFTER, _TIERS, _TIERS + _SUCCESSOR)
    }
    latest = reader.read_words(
        "rules set last",
        instance.market_registry,
        "latest_rules(uint256)",
        [(rules_key(market, session),) for market, session in every],
    )
    for place, (market, session) in enumerate(every):
        note = f"session {session}"
        told_word = ledger.rules.get((market, session), 0)
        follows, binds_after_s = ledger.successors.get((market, session), (0, 0))
        subject = Subject(what="rules", market=market, note=note)
        expected = rules.get(rules_key(market, session), 0)
        witnesses.compare(subject, RULES, expected, _tell(RULES, told_word), tables[0][place])
        subject = Subject(what="rules that follow", market=market, note=note)
        expected = rules.get(rules_successor_key(market, session), 0)
        witnesses.compare(subject, RULES, expected, _tell(RULES, follows), tables[_SUCCESSOR][place])
        expected = rules.get(rules_binds_after_key(market, session), 0)
        told = _tell(BINDS_AFTER, binds_after_s)
        witnesses.compare(subject, BINDS_AFTER, expected, told, tables[_BINDS_AFTER][place])
        subject = Subject(what="rules set last", market=market, note=note)
        set_last = follows or told_word
        for what, added, key in (
            ("tiers", _TIERS, rules_key(market, session)),
            ("tiers that follow", _TIERS + _SUCCESSOR, rules_successor_key(market, session)),
        ):
            told = _tell(TIERS, ledger.tiers.get(tier_key(key), 0))
            expected = rules.get(tier_key(key), 0)
            witnesses.compare(Subject(what=what, market=market, note=note), TIERS, expected, told, tables[added][place])
        witnesses.compare(subject, RULES, set_last, _tell(RULES, set_last), latest[place])


def _compare_approvals(
    witnesses: Witnesses, reader: StorageReader, instance: Instance, replay: Replay, ledger: EventLedger
) -> None:
    approvals = sorted(replay.state.approvals | ledger.approvals)
    words = reader.read_words(
        "approvals",
        instance.operations,
        "is_approved(address,bytes32)",
        [(int.from_bytes(owner, "big"), int.from_bytes(digest, "big")) for owner, digest in approvals],
    )
    for (owner, digest), word in zip(approvals, words, strict=True):
        subject = Subject(what="approval", note=f"owner 0x{owner.hex()}, digest 0x{digest.hex()}")
        witnesses.compare(subject, IS_APPROVED, 1, {"is_approved": "1"}, word)
