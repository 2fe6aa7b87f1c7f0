# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title ChainlinkSource
@license AGPL-3.0-only
@notice Reads prices of Chainlink's aggregators (AggregatorV3). They push by themselves: nothing to refresh.
@dev A round that is missing, not positive, not complete or carried over reads as price 0, which no guard lets pass, so that one
     broken feed stops no batch. It names no session and no confidence.
@custom:security Aggregators are trusted for what they say; PriceOracle decides what counts.
@custom:invariants A feed is named once per market.
@custom:kill The governor moves markets to another source.
"""

from interfaces import IPriceSource
from modules import errors
from modules import feed_evidence
from modules import governed

implements: IPriceSource
initializes: governed
exports: (governed.governor, governed.pending_governor, governed.propose_governor, governed.accept_governor)

MAX_EVIDENCE: constant(uint256) = 5_120
MAX_REPORTS: constant(uint256) = 32
MAX_DECIMALS: constant(uint256) = 18
NO_SESSION: constant(uint256) = 256


struct Round:
    round_id: uint80
    answer: int256
    started_at: uint256
    updated_at: uint256
    answered_in_round: uint80


interface IAggregator:
    def decimals() -> uint8: view


event FeedSet:
    market: indexed(uint8)
    feed: indexed(address)
    decimals: uint256


# aggregator by market and its decimals; written by set_feed
feeds: public(HashMap[uint256, address])
decimals: public(HashMap[uint256, uint256])


@deploy
def __init__(governor: address):
    """
    @notice Starts without feeds.
    @param governor Who names them.
    """
    governed.__init__(governor)


@external
def set_feed(market: uint256, feed: address):
    """
    @notice Names the aggregator of a market. A market that has one gets another by a new source beside this one.
    @param market 1..32.
    @param feed The aggregator, of at most 18 decimals.
    """
    governed._check_governor()
    assert market > 0 and market <= MAX_REPORTS, errors.MARKET_OUT_OF_RANGE
    assert feed != empty(address) and self.feeds[market] == empty(address), errors.SOURCE_FEED
    n_decimals: uint256 = convert(staticcall IAggregator(feed).decimals(), uint256)
    assert n_decimals <= MAX_DECIMALS, errors.SOURCE_DECIMALS
    self.feeds[market] = feed
    self.decimals[market] = n_decimals
    log FeedSet(market=convert(market, uint8), feed=feed, decimals=n_decimals)


@external
def read_reports(evidence: Bytes[MAX_EVIDENCE]) -> DynArray[IPriceSource.Report, MAX_REPORTS]:
    """
    @notice Reads the latest rounds, in the order of the evidence.
    @dev Not a view only because of the lock; it writes nothing.
    @param evidence source id u8 | n u8 | n markets.
    @return The reports.
    """
    reports: DynArray[IPriceSource.Report, MAX_REPORTS] = []
    for i: uint256 in range(feed_evidence._count(evidence), bound=MAX_REPORTS):
        market: uint256 = feed_evidence._market_at(evidence, i)
        report: IPriceSource.Report = IPriceSource.Report(
            market=market, session=NO_SESSION, price_e8=0, confidence_e8=0, publish_time_s=0
        )
        is_there: bool = False
        answer: Bytes[160] = b""
        is_there, answer = raw_call(
            self.feeds[market],
            method_id("latestRoundData()"),
            max_outsize=160,
            is_static_call=True,
            revert_on_failure=False,
        )
        if is_there and len(answer) == 160:
            found: Round = abi_decode(answer, Round)
            report.publish_time_s = found.updated_at
            if found.updated_at > 0 and found.answered_in_round >= found.round_id:
                report.price_e8 = feed_evidence._to_e8(found.answer, self.decimals[market])
        reports.append(report)
    return reports


@external
@view
def is_ageless_while_closed() -> bool:
    """
    @notice Tells that aggregators of stocks stand still while the market is closed.
    @return True.
    """
    return True
