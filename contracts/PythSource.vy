# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title PythSource
@license AGPL-3.0-only
@notice Reads prices that Pyth keeps on chain. `refresh` brings signed updates there and pays for them, outside of settle.
@dev Pyth knows no sessions of ours: its reports name none. A feed that is missing, not positive or of an odd exponent reads as
     price 0, which no guard lets pass, so that one broken feed stops no batch.
@custom:security Pyth is trusted for who said what; PriceOracle decides what counts.
@custom:invariants No ether stays here.
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
MAX_UPDATES: constant(uint256) = 8
MAX_UPDATE: constant(uint256) = 8_192
NO_SESSION: constant(uint256) = 256
MIN_EXPONENT: constant(int256) = -12


struct Price:
    price: int64
    conf: uint64
    expo: int32
    publish_time: uint256


interface IPyth:
    def getUpdateFee(update_data: DynArray[Bytes[MAX_UPDATE], MAX_UPDATES]) -> uint256: view
    def updatePriceFeeds(update_data: DynArray[Bytes[MAX_UPDATE], MAX_UPDATES]): payable


event FeedSet:
    market: indexed(uint8)
    feed: bytes32


PYTH: public(immutable(address))

# Pyth's price id by market, zero = none; written by set_feed
feeds: public(HashMap[uint256, bytes32])


@deploy
def __init__(governor: address, pyth: address):
    """
    @notice Names Pyth.
    @param governor Who names feeds.
    @param pyth The Pyth contract of this chain.
    """
    assert pyth != empty(address), errors.NO_ADDRESS
    governed.__init__(governor)
    PYTH = pyth


@external
def set_feed(market: uint256, feed: bytes32):
    """
    @notice Names the feed of a market. A market that has one gets another by a new source beside this one.
    @param market 1..32.
    @param feed Pyth's price id, not zero.
    """
    governed._check_governor()
    assert market > 0 and market <= MAX_REPORTS, errors.MARKET_OUT_OF_RANGE
    assert feed != empty(bytes32) and self.feeds[market] == empty(bytes32), errors.SOURCE_FEED
    self.feeds[market] = feed
    log FeedSet(market=convert(market, uint8), feed=feed)


@external
@payable
def refresh(update_data: DynArray[Bytes[MAX_UPDATE], MAX_UPDATES]):
    """
    @notice Brings updates to Pyth, pays its fee out of what was sent and returns the rest. Anybody.
    @param update_data What Pyth's publishers signed.
    """
    fee_wei: uint256 = staticcall IPyth(PYTH).getUpdateFee(update_data)
    assert msg.value >= fee_wei, errors.SOURCE_FEE
    extcall IPyth(PYTH).updatePriceFeeds(update_data, value=fee_wei)
    if self.balance > 0:
        raw_call(msg.sender, b"", value=self.balance)


@external
def read_reports(evidence: Bytes[MAX_EVIDENCE]) -> DynArray[IPriceSource.Report, MAX_REPORTS]:
    """
    @notice Reads the prices Pyth has, in the order of the evidence.
    @dev Not a view only because of the lock; it writes nothing.
    @param evidence source id u8 | n u8 | n markets.
    @return The reports; conf is the confidence, rounded up.
    """
    reports: DynArray[IPriceSource.Report, MAX_REPORTS] = []
    for i: uint256 in range(feed_evidence._count(evidence), bound=MAX_REPORTS):
        market: uint256 = feed_evidence._market_at(evidence, i)
        report: IPriceSource.Report = IPriceSource.Report(
            market=market, session=NO_SESSION, price_e8=0, confidence_e8=0, publish_time_s=0
        )
        is_there: bool = False
        answer: Bytes[128] = b""
        is_there, answer = raw_call(
            PYTH,
            abi_encode(self.feeds[market], method_id=method_id("getPriceUnsafe(bytes32)")),
            max_outsize=128,
            is_static_call=True,
            revert_on_failure=False,
        )
        if is_there and len(answer) == 128:
            found: Price = abi_decode(answer, Price)
            exponent: int256 = convert(found.expo, int256)
            report.publish_time_s = found.publish_time
            if exponent <= 0 and exponent >= MIN_EXPONENT:
                decimals: uint256 = convert(-exponent, uint256)
                report.price_e8 = feed_evidence._to_e8(convert(found.price, int256), decimals)
                scale: uint256 = 10**decimals
                report.confidence_e8 = (convert(found.conf, uint256) * 10**8 + scale - 1) // scale
        reports.append(report)
    return reports


@external
@view
def is_ageless_while_closed() -> bool:
    """
    @notice Tells that Pyth publishes nothing of a stock whose market is closed.
    @return True.
    """
    return True
