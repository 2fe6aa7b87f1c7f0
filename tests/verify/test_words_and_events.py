"""What the auditor reads with its own eyes: lanes of words and logs of events, numbers worked out by hand."""

from __future__ import annotations

import pytest

from afterbell.verify.chain_events import CLEARINGHOUSE, OPERATIONS, UnreadableLog, decode_event, split_positions
from afterbell.verify.findings import Findings
from afterbell.verify.fold import fold_events
from afterbell.verify.layout import ACCOUNT, POSITION, WORDS, differing_lanes, show_lane
from afterbell.verify.rpc import Log

ACCOUNT_ID = 0xAB << 80
# keccak256("PositionsChanged(uint64,uint256[])") and the like are taken by the decoder itself; the tests
# address events by name.
TOPIC = {shape.name: topic for topic, shape in {**CLEARINGHOUSE, **OPERATIONS}.items()}


def word(number: int) -> bytes:
    return (number % (1 << 256)).to_bytes(32, "big")


def build_log(name: str, indexed: list[int], data: bytes) -> Log:
    topics = (TOPIC[name], *map(word, indexed))
    return Log(address=bytes(20), topics=topics, data=data, block=1, index=0, transaction=bytes(32))


def position_changed(size_change: int, realised: int, fees: int, size: int, entry: int) -> Log:
    change = size_change % (1 << 64) | realised % (1 << 96) << 64 | fees << 160
    position = size % (1 << 64) | entry % (1 << 96) << 64
    records = word(ACCOUNT_ID << 16 | 1) + word(change) + word(position)
    return build_log("PositionsChanged", [1], word(32) + word(3) + records)


def fold(*logs: Log) -> tuple[Findings, dict[int, int]]:
    findings = Findings()
    decoded = [decode_event("clearinghouse", CLEARINGHOUSE, log) for log in logs]
    ledger = fold_events([one for event in decoded for one in split_positions(event)], findings)
    return findings, dict(ledger.collateral_quote)


@pytest.mark.parametrize("name", sorted(WORDS))
def test_layout__every_word__is_covered_without_overlap(name: str) -> None:
    covered = [bit for lane in WORDS[name] for bit in range(lane.offset, lane.offset + lane.n_bits)]

    assert covered == list(range(256))


def test_lane__negative_number__is_read_as_twos_complement() -> None:
    size, entry, _ = POSITION
    packed = (1 << 64) - 5 | ((1 << 96) - 7) << 64

    assert (size.read(packed), entry.read(packed)) == (-5, -7)


def test_differing_lanes__open_markets_in_other_slots__are_equal() -> None:
    assert differing_lanes(ACCOUNT, 2 << 200 | 5 << 208, 5 << 240 | 2 << 216) == []


def test_differing_lanes__another_market_is_open__names_the_lane() -> None:
    [lane] = differing_lanes(ACCOUNT, 2 << 200, 5 << 200)

    assert lane.name == "open_markets"
    assert show_lane(lane, 5 << 200 | 2 << 208) == "2 5"


def test_event__unknown_topic__is_refused() -> None:
    log = Log(address=bytes(20), topics=(bytes(32),), data=b"", block=1, index=0, transaction=bytes(32))
    with pytest.raises(UnreadableLog, match=r"is no event of contracts/README\.md"):
        decode_event("clearinghouse", CLEARINGHOUSE, log)


def test_event__data_cut_short__is_refused() -> None:
    with pytest.raises(UnreadableLog, match="data ends before quote"):
        decode_event("clearinghouse", CLEARINGHOUSE, build_log("CollateralDeposited", [ACCOUNT_ID, 1], word(1)))


def test_event__words_that_are_no_whole_positions__are_refused() -> None:
    log = build_log("PositionsChanged", [1], word(32) + word(4) + word(1) * 4)
    with pytest.raises(UnreadableLog, match="three words a position, found 4 words"):
        split_positions(decode_event("clearinghouse", CLEARINGHOUSE, log))


def test_event__a_bit_its_type_does_not_have__is_refused() -> None:
    with pytest.raises(UnreadableLog, match=r"AllCancelled\.min_seq: 0x01.* is no uint64"):
        decode_event("operations", OPERATIONS, build_log("AllCancelled", [ACCOUNT_ID], word(1 << 248)))


def test_event__more_data_than_its_shape__is_refused() -> None:
    with pytest.raises(UnreadableLog, match="required 32 bytes of data, found 64"):
        decode_event("operations", OPERATIONS, build_log("AllCancelled", [ACCOUNT_ID], word(1) * 2))


def test_event__padding_that_is_not_zero__is_refused() -> None:
    data = word(32) + word(3) + b"\x00\x2d\x00".ljust(32, b"\1")
    with pytest.raises(UnreadableLog, match="codes: padding is not zero"):
        decode_event("clearinghouse", CLEARINGHOUSE, build_log("BatchFailures", [4], data))


def test_event__bytes__are_read_to_their_length() -> None:
    data = word(32) + word(3) + b"\x00\x2d\x00".ljust(32, b"\0")
    event = decode_event("clearinghouse", CLEARINGHOUSE, build_log("BatchFailures", [4], data))

    assert event.content("codes") == b"\x00\x2d\x00"


def test_fold__open_and_close__realises_into_collateral() -> None:
    """Buy 10 lots at 100, fee 3: entry 1003. Sell at 90, fee 2: entry 1003 - 900 + 2 = 105, realised -105."""
    findings, collateral_quote = fold(
        build_log("CollateralDeposited", [ACCOUNT_ID, 1], word(0xCD) + word(5_000)),
        position_changed(10, 0, 3, 10, 1_003),
        position_changed(-10, -105, 2, 0, 0),
    )

    assert findings.entries == []
    assert collateral_quote == {ACCOUNT_ID: 4_895}


def test_fold__a_position_change_is_missing__names_account_market_and_lots() -> None:
    findings, _ = fold(position_changed(-4, 0, 1, 6, 600))

    [finding] = findings.entries
    assert (finding.account, finding.market, finding.unit) == (ACCOUNT_ID, 1, "lots")
    assert finding.expected.startswith("10 ")
    assert finding.found.startswith("0 ")


def test_fold__a_deposit_is_missing__names_the_direct_operation() -> None:
    findings, _ = fold(build_log("CollateralDeposited", [ACCOUNT_ID, 2], word(0xCD) + word(5_000)))

    [finding] = findings.entries
    assert (finding.field, finding.expected) == ("direct_op", "direct operation 1 (they have no gaps)")


def test_fold__a_batch_is_missing__names_the_sequence() -> None:
    findings, _ = fold(build_log("BatchSettled", [2], word(0) * 8))

    [finding] = findings.entries
    assert (finding.field, finding.sequence) == ("sequence", 1)
