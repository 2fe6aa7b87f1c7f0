# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title ChainlinkStreamsSource
@license AGPL-3.0-only
@notice Keeps the latest Data Streams report of every feed, schemas v8 and v11, once Chainlink's verifier proxy has passed it.
@dev What a market status number means differs from feed to feed: each feed has a table of its own. Refreshing pays no fee: it
     works where the proxy has no fee manager, or grants this contract a full discount. Prices have 18 decimals.
@custom:security The verifier proxy is trusted for who signed; PriceOracle decides what counts.
@custom:invariants A feed's stored report never gets older.
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
MAX_SIGNED: constant(uint256) = 8_192
MAX_VERIFIED: constant(uint256) = 1_024
MAX_SESSION: constant(uint256) = 8
N_STATUSES: constant(uint256) = 9
# words of the report data by schema: in v8 time, price and status are words 6, 7, 8 of 9; in v11 7, 6, 13 of 14
V8: constant(uint256) = 8
V11: constant(uint256) = 11
NANOSECONDS: constant(uint256) = 1_000_000_000
DECIMALS: constant(uint256) = 18
M8: constant(uint256) = 2**8 - 1
M40: constant(uint256) = 2**40 - 1
M64: constant(uint256) = 2**64 - 1


interface IVerifierProxy:
    def verify(payload: Bytes[MAX_SIGNED], parameters: Bytes[32]) -> Bytes[MAX_VERIFIED]: payable


event FeedSet:
    market: indexed(uint8)
    feed: indexed(bytes32)
    statuses: uint256


event ReportStored:
    feed: indexed(bytes32)
    price_e8: uint256
    publish_time_s: uint256
    status: uint256


VERIFIER: public(immutable(address))
# what the fee manager is told to charge in; the proxy ignores it without one
FEE_TOKEN: public(immutable(address))

# feed id by market, zero = none; written by set_feed
feeds: public(HashMap[uint256, bytes32])
# sessions of a feed's statuses by market: byte i from bit 0 is the session of status i; written by set_feed
statuses: public(HashMap[uint256, uint256])
# latest report by feed: price_e8 u64 | publish time u40 at 64 | status u8 at 104; written by refresh
stored: public(HashMap[bytes32, uint256])


@deploy
def __init__(governor: address, verifier: address, fee_token: address):
    """
    @notice Names the verifier proxy.
    @param governor Who names feeds.
    @param verifier Chainlink's verifier proxy of this chain.
    @param fee_token Token the fee manager would charge, zero where there is none.
    """
    assert verifier != empty(address), errors.NO_ADDRESS
    governed.__init__(governor)
    VERIFIER = verifier
    FEE_TOKEN = fee_token


@external
def set_feed(market: uint256, feed: bytes32, sessions: DynArray[uint256, N_STATUSES]):
    """
    @notice Names the feed of a market and what its statuses mean. A market that has one gets another by a new source beside this.
    @param market 1..32.
    @param feed Feed id of schema v8 or v11.
    @param sessions Our session for each status from 0 on; statuses beyond are UNKNOWN.
    """
    governed._check_governor()
    assert market > 0 and market <= MAX_REPORTS, errors.MARKET_OUT_OF_RANGE
    version: uint256 = self._schema(feed)
    assert (version == V8 or version == V11) and self.feeds[market] == empty(bytes32), errors.SOURCE_FEED
    table: uint256 = 0
    for i: uint256 in range(len(sessions), bound=N_STATUSES):
        assert sessions[i] <= MAX_SESSION, errors.CALENDAR_SESSION
        table |= sessions[i] << (8 * i)
    self.feeds[market] = feed
    self.statuses[market] = table
    log FeedSet(market=convert(market, uint8), feed=feed, statuses=table)


@external
def refresh(signed_report: Bytes[MAX_SIGNED]):
    """
    @notice Has a report verified and keeps it. Anybody.
    @param signed_report What Data Streams answers: context, report data and signatures.
    """
    data: Bytes[MAX_VERIFIED] = extcall IVerifierProxy(VERIFIER).verify(signed_report, abi_encode(FEE_TOKEN))
    assert len(data) >= 32, errors.EVIDENCE_LENGTH
    feed: bytes32 = extract32(data, 0)
    version: uint256 = self._schema(feed)
    mid: int256 = 0
    time_ns: uint256 = 0
    status: uint256 = 0
    if version == V8:
        assert len(data) == 9 * 32, errors.EVIDENCE_LENGTH
        time_ns = extract32(data, 6 * 32, output_type=uint256)
        mid = extract32(data, 7 * 32, output_type=int256)
        status = extract32(data, 8 * 32, output_type=uint256)
    else:
        assert version == V11, errors.SOURCE_FEED
        assert len(data) == 14 * 32, errors.EVIDENCE_LENGTH
        mid = extract32(data, 6 * 32, output_type=int256)
        time_ns = extract32(data, 7 * 32, output_type=uint256)
        status = extract32(data, 13 * 32, output_type=uint256)
    price_e8: uint256 = feed_evidence._to_e8(mid, DECIMALS)
    assert price_e8 > 0 and price_e8 <= M64, errors.SOURCE_NO_PRICE
    # the age of the price itself, which may be older than the report around it
    time_s: uint256 = min(time_ns // NANOSECONDS, extract32(data, 2 * 32, output_type=uint256))
    assert time_s > (self.stored[feed] >> 64) & M40 and time_s <= M40, errors.SOURCE_NOT_NEWER
    self.stored[feed] = price_e8 | (time_s << 64) | (min(status, M8) << 104)
    log ReportStored(feed=feed, price_e8=price_e8, publish_time_s=time_s, status=status)


@external
def read_reports(evidence: Bytes[MAX_EVIDENCE]) -> DynArray[IPriceSource.Report, MAX_REPORTS]:
    """
    @notice Reads the stored reports, in the order of the evidence.
    @dev Not a view only because of the lock; it writes nothing.
    @param evidence source id u8 | n u8 | n markets.
    @return The reports.
    """
    reports: DynArray[IPriceSource.Report, MAX_REPORTS] = []
    for i: uint256 in range(feed_evidence._count(evidence), bound=MAX_REPORTS):
        market: uint256 = feed_evidence._market_at(evidence, i)
        word: uint256 = self.stored[self.feeds[market]]
        status: uint256 = word >> 104
        session: uint256 = 0
        if status < N_STATUSES:
            session = (self.statuses[market] >> (8 * status)) & M8
        reports.append(
            IPriceSource.Report(
                market=market,
                session=session,
                price_e8=word & M64,
                confidence_e8=0,
                publish_time_s=(word >> 64) & M40,
            )
        )
    return reports


@external
@view
def is_ageless_while_closed() -> bool:
    """
    @notice Tells that a stock's stream stands still while its market is closed.
    @return True.
    """
    return True


@internal
@pure
def _schema(feed: bytes32) -> uint256:
    """
    @notice Reads the schema of a feed, which its id begins with.
    @param feed Feed id.
    @return The version.
    """
    return convert(feed, uint256) >> 240
