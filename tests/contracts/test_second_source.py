"""A market priced by publishers and confirmed by Chainlink: guards 9 to 12 at their boundaries, and swaps of sources.

Market 1 in ticks of a cent; source 0 signs, source 1 is an aggregator the operator does not run. Age limit: 60 s.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyrevm import AccountInfo

from afterbell.domain.batch import PriceRow
from afterbell.domain.codes import ReportCode
from afterbell.domain.evidence import join_sections
from afterbell.domain.hashing import keccak
from tests.contracts.feeds import create_aggregator, set_round
from tests.contracts.venue import MAKER, TICKS, Report, Settled, Venue, account_of, refused
from tests.support.chain import GOVERNOR, OUTSIDER, SEQUENCER, Chain, Reverted, artifacts

CENT_E8 = 10**6
NONE = 256


@pytest.fixture(scope="module")
def shared_venue() -> Venue:
    return open_venue()


@pytest.fixture
def venue(shared_venue: Venue) -> Iterator[Venue]:
    """Lend a priced venue with a second source that no market has yet; whatever a test does is undone."""
    addresses = dict(shared_venue.chain.addresses)
    with shared_venue.chain.undone():
        yield shared_venue
    shared_venue.chain.addresses.update(addresses)


def open_venue() -> Venue:
    venue = Venue.open(n_markets=2)
    chain = venue.chain
    chain.create("ChainlinkSource", GOVERNOR)
    chain.addresses["feed"] = create_aggregator(chain)
    chain.call("ChainlinkSource", "set_feed", 1, chain.addresses["feed"], sender=GOVERNOR)
    chain.call("PriceOracle", "set_source", 1, chain.addresses["ChainlinkSource"], sender=GOVERNOR)
    venue.wait(10)
    return venue


def set_sources(venue: Venue, source: int, second: int) -> None:
    venue.chain.call("PriceOracle", "set_market_sources", 1, source, second, sender=GOVERNOR)


def second_says(venue: Venue, ticks: int, *, ago_s: int = 0) -> bytes:
    """Return the section that reads the second source's new round."""
    set_round(venue.chain, venue.chain.addresses["feed"], ticks * CENT_E8, venue.chain.time_s - ago_s)
    return join_sections([b"\x01\x01\x01"])


def first_says(venue: Venue, ticks: int) -> bytes:
    return venue.evidence([Report(price_e8=ticks * CENT_E8)])


def verdict(settled: Settled) -> int:
    """Return what became of the primary's report, 0 if it is the external price."""
    accepted = [event for event in settled.named("ReportAccepted") if event["market"] == 1]
    ignored = [int(event["code"]) for event in settled.named("ReportIgnored")]
    assert len(accepted) + len(ignored) == 1
    return ignored[0] if ignored else 0


def confirmed_venue(venue: Venue) -> Venue:
    """Name the second source and wait until it is required."""
    set_sources(venue, 0, 1)
    venue.wait(601)
    return venue


# With a second source.


@pytest.mark.parametrize(("ago_s", "code"), [(0, 0), (60, 0), (61, 4)])
def test_confirmation__age_of_the_second__counts_to_the_second(venue: Venue, ago_s: int, code: int) -> None:
    """What is too old for a report is never kept; kept ones age until they are UNCONFIRMED, the next test."""
    confirmed_venue(venue)

    settled = venue.settle(evidence=second_says(venue, TICKS, ago_s=ago_s) + first_says(venue, TICKS))

    ignored = [event["code"] for event in settled.named("ReportIgnored")]
    assert ignored == ([] if code == 0 else [ReportCode.TOO_OLD, ReportCode.UNCONFIRMED])


@pytest.mark.parametrize(("later_s", "code"), [(0, 0), (60, 0), (61, 9)])
def test_confirmation__kept_observation__confirms_for_the_sessions_age(venue: Venue, later_s: int, code: int) -> None:
    confirmed_venue(venue)
    venue.settle(evidence=second_says(venue, TICKS))
    venue.wait(later_s)

    assert verdict(venue.settle(evidence=first_says(venue, TICKS))) == code


@pytest.mark.parametrize(("later_s", "code"), [(1, 0), (300, 0), (301, ReportCode.UNCONFIRMED)])
def test_confirmation__feed_updated_after_the_match__still_confirms(venue: Venue, later_s: int, code: int) -> None:
    """A batch settles up to 300 s after its match, and anybody may bring a feed its update in between."""
    confirmed_venue(venue)
    matched_at_s = venue.chain.time_s
    report = first_says(venue, TICKS + 5)
    set_round(venue.chain, venue.chain.addresses["feed"], (TICKS + 7) * CENT_E8, matched_at_s + later_s)
    venue.wait(later_s if later_s <= 300 else 300)

    settled = venue.settle(evidence=report + join_sections([b"\x01\x01\x01"]), matched_at_s=matched_at_s)

    accepted = settled.named("ReportAccepted")
    ignored = [int(event["code"]) for event in settled.named("ReportIgnored")]
    assert (len(accepted), ignored) == ((1, []) if code == 0 else (0, [ReportCode.FUTURE, code]))


def test_primary__feed_updated_after_the_match__is_the_price_as_of_the_match(venue: Venue) -> None:
    """Market 1 priced by the feed alone: a stranger's update leaves it a price no younger than the match."""
    set_sources(venue, 1, NONE)
    venue.wait(601)
    matched_at_s = venue.chain.time_s
    venue.wait(40)
    evidence = second_says(venue, TICKS + 3)

    settled = venue.settle(
        rows=[PriceRow(market_id=1, mark_ticks=TICKS, index_ticks=TICKS)], evidence=evidence, matched_at_s=matched_at_s
    )

    assert [event["publish_time_s"] for event in settled.named("ReportAccepted")] == [matched_at_s + 40]
    price = venue.price()
    assert (price.external_ticks, price.external_time_s) == (TICKS + 3, matched_at_s)
    # a calm minute later nothing new was said, and nothing moves
    venue.wait(20)
    again = venue.settle(evidence=join_sections([b"\x01\x01\x01"]))
    assert [event["code"] for event in again.named("ReportIgnored")] == [ReportCode.NOT_NEWER]
    assert venue.price().external_time_s == matched_at_s


def test_confirmation__by_nobody__leaves_the_price_as_it_was(venue: Venue) -> None:
    confirmed_venue(venue)
    before = venue.price()

    assert verdict(venue.settle(evidence=first_says(venue, TICKS + 1))) == ReportCode.UNCONFIRMED

    assert venue.price() == before


# 2 % of the second's price: 10,000 +- 200
@pytest.mark.parametrize(
    ("ticks", "code"), [(10_000, 0), (10_200, 0), (10_201, 10), (9_800, 0), (9_799, 10), (130_000, 10), (1, 10)]
)
def test_agreement__two_per_cent__counts_to_the_tick(venue: Venue, ticks: int, code: int) -> None:
    """The feed times 13 while the other is flat (T66): the external price does not move."""
    confirmed_venue(venue)

    assert verdict(venue.settle(evidence=second_says(venue, TICKS) + first_says(venue, ticks))) == code

    assert venue.price().external_ticks == (ticks if code == 0 else TICKS)
    assert not venue.chain.call("PriceOracle", "is_trusted", 1)


def test_agreement__order_of_the_sections__does_not_matter(venue: Venue) -> None:
    confirmed_venue(venue)

    assert verdict(venue.settle(evidence=first_says(venue, 10_100) + second_says(venue, TICKS))) == 0


def test_agreement__after_a_disagreement__makes_the_kept_observation_count(venue: Venue) -> None:
    """The primary is right and the other late: the same report counts as soon as the other follows."""
    confirmed_venue(venue)
    said_s = venue.chain.time_s
    assert verdict(venue.settle(evidence=second_says(venue, TICKS) + first_says(venue, 10_900))) == 10
    venue.wait(20)

    settled = venue.settle(evidence=second_says(venue, 10_850))

    assert [(event["external_ticks"], event["publish_time_s"]) for event in settled.named("ReportAccepted")] == [
        (10_900, said_s)
    ]


def test_agreement__too_late__does_not_revive_an_old_observation(venue: Venue) -> None:
    confirmed_venue(venue)
    assert verdict(venue.settle(evidence=second_says(venue, TICKS) + first_says(venue, 10_900))) == 10
    venue.wait(61)

    assert verdict(venue.settle(evidence=second_says(venue, 10_850))) == ReportCode.TOO_OLD


def test_second_source__alone__moves_nothing(venue: Venue) -> None:
    confirmed_venue(venue)
    before = venue.price()

    settled = venue.settle(evidence=second_says(venue, 10_050))

    assert [event["price_e8"] for event in settled.named("SecondReported")] == [10_050 * CENT_E8]
    assert venue.price() == before


def test_disagreement__that_lasts__makes_the_market_reduce_only_by_age(venue: Venue) -> None:
    """STALE_PRICE for who opens, and a batch that goes on."""
    venue.trade(1_000)
    confirmed_venue(venue)
    venue.settle(evidence=second_says(venue, TICKS) + first_says(venue, 130_000))

    opening = venue.trade(1_000)
    closing = venue.trade(1_000, maker_buys=True, maker={"reduce_only": True}, taker={"reduce_only": True})

    assert [code & 63 for code in opening.fills] == [45]
    assert closing.fills == [0]


# Without one: jumps.


@pytest.mark.parametrize(("ticks", "code"), [(11_000, 0), (11_001, 11), (9_000, 0), (8_999, 11), (130_000, 11)])
def test_jump__ten_per_cent__counts_to_the_tick(venue: Venue, ticks: int, code: int) -> None:
    assert venue.chain.call("PriceOracle", "is_trusted", 1)

    assert verdict(venue.settle(evidence=first_says(venue, ticks))) == code

    assert venue.price().external_ticks == (ticks if code == 0 else TICKS)


# first seen at 20,000; 2 % of it is 400
@pytest.mark.parametrize(
    ("later_s", "ticks", "code"),
    [(59, 20_000, 11), (60, 20_000, 0), (60, 20_400, 0), (60, 20_401, 11), (60, 19_599, 11)],
)
def test_jump__repeated_a_minute_later__is_believed(venue: Venue, later_s: int, ticks: int, code: int) -> None:
    assert verdict(venue.settle(evidence=first_says(venue, 20_000))) == ReportCode.JUMP
    venue.wait(later_s)

    assert verdict(venue.settle(evidence=first_says(venue, ticks))) == code


def test_jump__reported_every_few_seconds__counts_from_the_first_of_the_run(venue: Venue) -> None:
    codes = []
    for _ in range(21):
        codes.append(verdict(venue.settle(evidence=first_says(venue, 20_000))))
        venue.wait(3)

    assert codes == [ReportCode.JUMP] * 20 + [0]


def test_jump__broken_by_a_calm_report__begins_anew(venue: Venue) -> None:
    """A spike, then the old price, then the spike again a minute after the first: nothing has lasted."""
    for later_s, ticks, code in ((0, 20_000, 11), (30, TICKS, 0), (30, 20_000, 11), (59, 20_000, 11), (1, 20_000, 0)):
        venue.wait(later_s)
        assert verdict(venue.settle(evidence=first_says(venue, ticks))) == code


def test_jump__first_price_of_a_market__is_none() -> None:
    venue = Venue.open(n_markets=1, is_priced=False, deposit_quote=0)

    assert verdict(venue.settle(evidence=first_says(venue, 987_654))) == 0


# Swaps.


@pytest.mark.parametrize(("later_s", "counts"), [(0, True), (600, True), (601, False)])
def test_swap__old_primary__counts_for_ten_minutes_beside_the_new(venue: Venue, later_s: int, counts: bool) -> None:
    """T70: both live. Times stay in order between them, whoever speaks."""
    set_sources(venue, 1, NONE)
    venue.wait(later_s)

    settled = venue.settle(evidence=first_says(venue, 10_010))
    assert verdict(settled) == (0 if counts else ReportCode.UNKNOWN_MARKET)

    venue.wait(1)
    assert verdict(venue.settle(evidence=second_says(venue, 10_020))) == 0
    if later_s == 0:
        assert verdict(venue.settle(evidence=first_says(venue, 10_030))) == ReportCode.NOT_NEWER


@pytest.mark.parametrize(("later_s", "code"), [(0, 0), (600, 0), (601, 9)])
def test_swap__first_second_source__is_required_after_ten_minutes(venue: Venue, later_s: int, code: int) -> None:
    """A batch matched before the change was known has one source's evidence alone."""
    set_sources(venue, 0, 1)
    venue.wait(later_s)

    assert verdict(venue.settle(evidence=first_says(venue, 10_010))) == code


@pytest.mark.parametrize(("later_s", "code"), [(0, 0), (590, 0), (601, 9)])
def test_swap__old_second_source__confirms_for_ten_minutes(venue: Venue, later_s: int, code: int) -> None:
    confirmed_venue(venue)
    chain = venue.chain
    third = chain.create("ChainlinkSource", GOVERNOR)
    chain.call("PriceOracle", "set_source", 2, third, sender=GOVERNOR)
    set_sources(venue, 0, 2)
    venue.wait(later_s)

    evidence = first_says(venue, TICKS)
    if later_s <= 600:
        evidence = second_says(venue, TICKS) + evidence
    assert verdict(venue.settle(evidence=evidence)) == code


def test_swap__second_source_taken_away__leaves_a_trusted_price(venue: Venue) -> None:
    confirmed_venue(venue)
    set_sources(venue, 0, NONE)

    assert venue.chain.call("PriceOracle", "is_trusted", 1)
    assert verdict(venue.settle(evidence=first_says(venue, 10_500))) == 0


@pytest.mark.parametrize(
    ("market", "source", "second", "reason"),
    [
        (9, 0, NONE, "market: not listed"),
        (1, 7, NONE, "source: unknown"),
        (1, 256, NONE, "source: unknown"),
        (1, 0, 7, "source: unknown"),
        (1, 0, 257, "source: unknown"),
        (1, 0, 0, "source: taken"),
    ],
)
def test_swap__to_sources_that_are_none__reverts(
    venue: Venue, market: int, source: int, second: int, reason: str
) -> None:
    with refused(reason):
        venue.chain.call("PriceOracle", "set_market_sources", market, source, second, sender=GOVERNOR)


@pytest.mark.parametrize("sender", [OUTSIDER, SEQUENCER])
def test_swap__by_others_than_the_governor__reverts(venue: Venue, sender: str) -> None:
    with refused("caller: not governor"):
        venue.chain.call("PriceOracle", "set_market_sources", 1, 1, NONE, sender=sender)


def test_source__that_reverts_as_one_cannot_be_named(venue: Venue) -> None:
    """An account without code, or a contract that is no source, never becomes one."""
    for wrong in (OUTSIDER, venue.chain.addresses["Vault"]):
        with pytest.raises(Reverted):
            venue.chain.call("PriceOracle", "set_source", 9, wrong, sender=GOVERNOR)


# Corporate actions.


def halt(chain: Chain, market: int, from_s: int) -> None:
    """Write what CorporateActions answers to halt_from."""
    slot = int(artifacts()["CorporateActions"].layout["storage_layout"]["state_words"]["slot"])
    at = int.from_bytes(keccak(slot.to_bytes(32, "big") + market.to_bytes(32, "big")), "big")
    chain.evm.insert_account_storage(chain.addresses["CorporateActions"], at, from_s)


def test_halt__from_its_first_second__freezes_the_external_price_and_keeps_what_is_reported(venue: Venue) -> None:
    """A quarter of the price on the day of a split of four: kept for reopening, no price yet."""
    halt(venue.chain, 1, venue.chain.time_s + 5)
    venue.wait(4)
    assert verdict(venue.settle(evidence=first_says(venue, 10_001))) == 0
    assert venue.price().session == 2
    venue.wait(1)

    assert verdict(venue.settle(evidence=first_says(venue, 2_500))) == ReportCode.MARKET_HALTED

    assert venue.price().external_ticks == 10_001
    assert list(venue.chain.call("PriceOracle", "last_observation", 1)) == [2_500, venue.chain.time_s]
    venue.settle(rows=[PriceRow(market_id=1, mark_ticks=TICKS, index_ticks=TICKS)])
    assert venue.price().session == 7


def test_halt__announced__ends_what_is_stated(venue: Venue) -> None:
    halt(venue.chain, 1, venue.chain.time_s + 125)

    venue.settle(evidence=first_says(venue, TICKS))

    assert venue.price().session_minutes == 2


@pytest.mark.parametrize("function", ["apply_split", "replace_sources"])
def test_corporate_actions__alone__change_multiplier_and_feeds_at_once(venue: Venue, function: str) -> None:
    for sender in (OUTSIDER, GOVERNOR, SEQUENCER):
        with refused("caller: not corporate actions"):
            venue.chain.call("PriceOracle", function, 1, 1, 1, sender=sender)


def test_liquidation_and_withdrawal__with_one_feed_times_thirteen__see_the_old_price(venue: Venue) -> None:
    """T66: a long's gain of 1,200 % by one feed is worth nothing while the other is flat."""
    venue.trade(1_000, maker_buys=True)
    confirmed_venue(venue)
    venue.settle(evidence=second_says(venue, TICKS) + first_says(venue, TICKS))
    venue.wait(3)
    row = PriceRow(market_id=1, mark_ticks=130_000, index_ticks=130_000)

    venue.settle(rows=[row], evidence=second_says(venue, TICKS) + first_says(venue, 130_000))

    price = venue.price()
    assert (price.external_ticks, price.index_ticks) == (TICKS, TICKS)
    assert price.mark_ticks <= 11_000  # the band around the external price
    assert venue.position(account_of(MAKER)).size_lots == 1_000


def as_corporate_actions(chain: Chain, function: str, *arguments: int) -> None:
    """Call from the address of CorporateActions, whose code stands aside: a transaction begins with an account."""
    here = chain.addresses["CorporateActions"]
    account = chain.evm.basic(here)
    try:
        chain.evm.insert_account_info(here, AccountInfo(nonce=1))
        chain.call("PriceOracle", function, *arguments, sender=here)
    finally:
        chain.evm.insert_account_info(here, account)


@pytest.mark.parametrize(
    ("splits", "multiplier"),
    [
        ([(4, 1)], (4, 1)),
        ([(2, 1), (7, 1), (4, 1)], (56, 1)),
        ([(1, 10)], (1, 10)),
        ([(3, 2), (2, 3)], (1, 1)),
        ([(6, 4)], (3, 2)),
        ([(2**64 - 1, 1)], (2**64 - 1, 1)),
        ([(2**63, 1), (1, 2)], (2**62, 1)),
    ],
)
def test_split__of_shares__multiplies_and_reduces(
    venue: Venue, splits: list[tuple[int, int]], multiplier: tuple[int, int]
) -> None:
    for num, den in splits:
        as_corporate_actions(venue.chain, "apply_split", 1, num, den)

    assert venue.chain.events()[0].name == "MultiplierSet"
    assert tuple(venue.chain.call("PriceOracle", "multiplier", 1)) == multiplier


@pytest.mark.parametrize(
    ("market", "num", "den", "reason"),
    [
        (1, 0, 1, "market: multiplier"),
        (1, 1, 0, "market: multiplier"),
        (1, 2**64, 1, "market: multiplier"),
        (1, 1, 2**64, "market: multiplier"),
        (9, 2, 1, "market: not listed"),
    ],
)
def test_split__of_no_ratio__reverts(venue: Venue, market: int, num: int, den: int, reason: str) -> None:
    with refused(reason):
        as_corporate_actions(venue.chain, "apply_split", market, num, den)


def test_split__whose_product_does_not_fit__reverts(venue: Venue) -> None:
    as_corporate_actions(venue.chain, "apply_split", 1, 2**63, 1)

    with refused("market: multiplier"):
        as_corporate_actions(venue.chain, "apply_split", 1, 2, 1)


def test_split__of_four__forgets_what_was_observed_but_not_when(venue: Venue) -> None:
    """A report of a quarter of the price is the same price a unit; one published no later is not newer still."""
    venue.settle(evidence=first_says(venue, 10_004))
    as_corporate_actions(venue.chain, "apply_split", 1, 4, 1)
    assert list(venue.chain.call("PriceOracle", "last_observation", 1)) == [0, venue.chain.time_s]

    assert verdict(venue.settle(evidence=first_says(venue, 2_501))) == ReportCode.NOT_NEWER
    venue.wait(1)
    assert verdict(venue.settle(evidence=first_says(venue, 2_501))) == 0
    assert venue.price().external_ticks == 10_004


def test_feeds__replaced_by_a_corporate_action__leave_nothing_of_the_old_alive(venue: Venue) -> None:
    as_corporate_actions(venue.chain, "replace_sources", 1, 1, NONE)
    assert [(event.name, event.args) for event in venue.chain.events()] == [
        ("MarketSourcesSet", {"market": 1, "source_id": 1, "second_source_id": NONE})
    ]
    assert list(venue.chain.call("PriceOracle", "sources_of", 1)) == [1, NONE]

    assert verdict(venue.settle(evidence=first_says(venue, TICKS))) == ReportCode.UNKNOWN_MARKET
    with refused("market: not listed"):
        as_corporate_actions(venue.chain, "replace_sources", 9, 1, NONE)


def test_swap__of_sources__is_logged_and_readable(venue: Venue) -> None:
    set_sources(venue, 1, 0)

    assert [event.args for event in venue.chain.events()] == [{"market": 1, "source_id": 1, "second_source_id": 0}]
    pricing = list(venue.chain.call("PriceOracle", "pricings", 1))
    until_s = venue.chain.time_s + 600
    assert pricing == [1, 100, 5_000, 1, 1, 0, 0, until_s, NONE, until_s]
