import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterbell.domain import words
from afterbell.domain.errors import FieldOutOfRange

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "words.json").read_text())
WORDS = st.integers(0, 2**256 - 1)
# Bits a word does not use: unpack drops them, so a round trip only keeps the rest.
USED_BITS = {
    words.PositionWord: 2**256 - 1,
    words.AccountWord: 2**256 - 1,
    words.LaneWord: 2**176 - 1,
    words.OverflowWord: 2**120 - 1,
    words.SessionKeyWord: 2**256 - 1 - (63 << 138) - (2**71 - 1 << 184),
    words.PriceWord: 2**256 - 1,
    words.RulesWord: 2**256 - 1,
    words.IndexWord: 2**256 - 1,
    words.TotalsWord: 2**256 - 1,
    words.BatchWord: 2**256 - 1,
}


@pytest.mark.parametrize("kind", list(USED_BITS), ids=lambda kind: kind.__name__)
@given(word=WORDS)
def test_word__any_bits__survive_unpack_and_pack(kind: type, word: int) -> None:
    assert kind.unpack(word).pack() == word & USED_BITS[kind]


def read_list(numbers: list) -> tuple:
    return tuple(tuple(number) if isinstance(number, list) else number for number in numbers)


@pytest.mark.parametrize("vector", VECTORS["words"], ids=lambda vector: vector["name"])
def test_word__worked_out_by_hand__packs_to_these_bits(vector: dict) -> None:
    kind = getattr(words, vector["kind"])
    expected = {
        key: read_list(value) if isinstance(value, list) else int(value) for key, value in vector["fields"].items()
    }

    actual = kind.unpack(int(vector["word"], 16))

    assert {field.name: getattr(actual, field.name) for field in fields(kind) if field.name in expected} == expected
    assert actual.pack() == int(vector["word"], 16)


LANES = [
    (words.PositionWord, "size_lots", -(2**63), 2**63 - 1),
    (words.PositionWord, "entry_quote", -(2**95), 2**95 - 1),
    (words.PositionWord, "index_snapshot_e12", -(2**95), 2**95 - 1),
    (words.AccountWord, "collateral_quote", -(2**71), 2**71 - 1),
    (words.AccountWord, "min_seq", 0, 2**40 - 1),
    (words.AccountWord, "lane0_seq", 0, 2**40 - 1),
    (words.AccountWord, "lane0_filled_lots", 0, 2**48 - 1),
    (words.AccountWord, "flags", 0, 2**8 - 1),
    (words.LaneWord, "even_seq", 0, 2**40 - 1),
    (words.LaneWord, "odd_filled_lots", 0, 2**48 - 1),
    (words.OverflowWord, "pending_min_seq", 0, 2**40 - 1),
    (words.OverflowWord, "pending_since_s", 0, 2**40 - 1),
    (words.OverflowWord, "bound_min_seq", 0, 2**40 - 1),
    (words.SessionKeyWord, "expiry_s", 0, 2**40 - 1),
    (words.SessionKeyWord, "max_notional_quote", 0, 2**64 - 1),
    (words.SessionKeyWord, "markets", 0, 2**32 - 1),
    (words.SessionKeyWord, "revoked_at_s", 0, 2**40 - 1),
    (words.PriceWord, "mark_ticks", 0, 2**40 - 1),
    (words.PriceWord, "session", 0, 2**8 - 1),
    (words.PriceWord, "epoch", 0, 2**32 - 1),
    (words.PriceWord, "session_minutes", 0, 2**16 - 1),
    (words.IndexWord, "long_index_e12", -(2**95), 2**95 - 1),
    (words.IndexWord, "short_index_e12", -(2**95), 2**95 - 1),
    (words.IndexWord, "funding_time_s", 0, 2**40 - 1),
    (words.IndexWord, "reserve_ticks", 0, 2**24 - 1),
    (words.TotalsWord, "open_interest_lots", 0, 2**64 - 1),
    (words.TotalsWord, "pot_quote", -(2**95), 2**95 - 1),
    (words.BatchWord, "sequence", 0, 2**40 - 1),
    (words.BatchWord, "fees_quote", 0, 2**80 - 1),
    (words.BatchWord, "collateral_quote", -(2**95), 2**95 - 1),
]


@pytest.mark.parametrize(("kind", "name", "low", "high"), LANES)
def test_lane__at_its_ends__is_kept_and_touches_no_neighbour(kind: type, name: str, low: int, high: int) -> None:
    for number in (low, high):
        word = kind(**{name: number})

        assert kind.unpack(word.pack()) == word


@pytest.mark.parametrize(("kind", "name", "low", "high"), LANES)
def test_lane__one_past_its_ends__raises_and_never_wraps(kind: type, name: str, low: int, high: int) -> None:
    for number in (low - 1, high + 1):
        with pytest.raises(FieldOutOfRange, match=name):
            kind(**{name: number}).pack()


def test_tiers__a_fourth_or_one_beyond_its_lane__raises() -> None:
    with pytest.raises(FieldOutOfRange):
        words.TierWord(tiers=((1, 1), (2, 1), (3, 1), (4, 1))).pack()
    with pytest.raises(FieldOutOfRange, match="edge_usdc"):
        words.TierWord(tiers=((2**48, 1),)).pack()
    with pytest.raises(FieldOutOfRange, match="add_ppm"):
        words.TierWord(tiers=((1, 2**20),)).pack()


def test_account_cap__share_of_the_cap__rounds_down_and_zero_is_all_of_it() -> None:
    """1,000,001 x 16,384 / 65,536 is a quarter: 250,000.25."""
    rules = words.RulesWord.unpack(0)

    assert replace(rules, open_interest_cap_lots=1_000_001, account_share=16_384).account_cap_lots == 250_000
    assert replace(rules, open_interest_cap_lots=1_000_001).account_cap_lots == 1_000_001


def test_open_markets__seven_or_too_large__raise() -> None:
    with pytest.raises(FieldOutOfRange):
        words.AccountWord(open_markets=(1, 2, 3, 4, 5, 6, 7)).pack()
    with pytest.raises(FieldOutOfRange):
        words.AccountWord(open_markets=(256, 0, 0, 0, 0, 0)).pack()


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**95), 2**95 - 1), st.integers(0, 2**96 - 1))
def test_change_word__any_numbers__survive(size_change_lots: int, realised_quote: int, fees_quote: int) -> None:
    word = words.pack_change(size_change_lots=size_change_lots, realised_quote=realised_quote, fees_quote=fees_quote)

    assert words.unpack_change(word) == (size_change_lots, realised_quote, fees_quote)
