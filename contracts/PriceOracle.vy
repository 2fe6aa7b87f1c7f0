# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy on
"""
@title PriceOracle
@license AGPL-3.0-only
@notice Decides which price reports count. Each market has one source; a report that fails a guard is ignored with a code, the
        others of the same evidence count.
@dev Only the Clearinghouse moves it, inside a batch, so that prices and fills stay in one order.
@custom:security A source is a contract the governor chose; it is called with evidence anyone may have made.
@custom:invariants The publish time of a market's last report never falls.
@custom:kill The governor names another source; without reports markets go stale and nothing opens.
"""

from interfaces import IPriceOracle
from interfaces import IPriceSource
from modules import codes
from modules import errors
from modules import governed

initializes: governed
exports: (governed.governor, governed.pending_governor, governed.propose_governor, governed.accept_governor)

MAX_EVIDENCE: constant(uint256) = 4_096
MAX_MARKETS: constant(uint256) = 32
MAX_REPORT_AGE_S: constant(uint256) = 60
MAX_SESSION: constant(uint256) = 8
MAX_EXTERNAL_TICKS: constant(uint256) = 2**32
E8: constant(uint256) = 100_000_000


struct MarketPricing:
    # index into sources
    source_id: uint256
    # 0 = market unknown
    ticks_per_usd: uint256
    # largest accepted confidence as a share of the price
    max_confidence_ppm: uint256
    # shares per unit, an exact rational
    multiplier_num: uint256
    multiplier_den: uint256


# the only caller of accept_reports
CLEARINGHOUSE: public(immutable(address))
# the only caller of set_market
REGISTRY: public(immutable(address))

# sources by id 0..255, 0 = signed reports; written by set_source, never replaced
sources: public(HashMap[uint256, address])
# pricing by market; written by set_market
pricings: public(HashMap[uint256, MarketPricing])
# publish time of the last accepted report by market; written by accept_reports, never falls
last_publish_time_s: public(HashMap[uint256, uint256])


@deploy
def __init__(governor: address, source: address, clearinghouse: address, registry: address):
    """
    @notice Wires the oracle.
    @param governor Who names sources.
    @param source Source 0, the SignedPriceSource.
    @param clearinghouse Address the Clearinghouse will have.
    @param registry Address the MarketRegistry will have.
    """
    assert clearinghouse != empty(address) and registry != empty(address), errors.NO_ADDRESS
    governed.__init__(governor)
    CLEARINGHOUSE = clearinghouse
    REGISTRY = registry
    self._set_source(0, source)


@external
def accept_reports(evidence: Bytes[MAX_EVIDENCE], matched_at_s: uint256) -> DynArray[uint256, MAX_MARKETS]:
    """
    @notice Reads evidence and returns the reports that pass every guard. Only the Clearinghouse.
    @param evidence What the source understands; its first byte is the source id.
    @param matched_at_s Time of the batch, UNIX seconds.
    @return Per accepted report market 8 | external_ticks 40 | publish time 40 | session 8, from bit 0.
    """
    assert msg.sender == CLEARINGHOUSE, errors.NOT_CLEARINGHOUSE
    assert len(evidence) > 0, errors.EVIDENCE_LENGTH
    source_id: uint256 = convert(slice(evidence, 0, 1), uint256)
    source: address = self.sources[source_id]
    assert source != empty(address), errors.SOURCE_UNKNOWN
    reports: DynArray[IPriceSource.Report, MAX_MARKETS] = extcall IPriceSource(source).read_reports(evidence)
    accepted: DynArray[uint256, MAX_MARKETS] = []
    for report: IPriceSource.Report in reports:
        external_ticks: uint256 = 0
        code: uint256 = 0
        external_ticks, code = self._judge(report, source_id, matched_at_s)
        if code != 0:
            log IPriceOracle.ReportIgnored(
                market=report.market, code=code, price_e8=report.price_e8, publish_time_s=report.publish_time_s
            )
            continue
        self.last_publish_time_s[report.market] = report.publish_time_s
        accepted.append(
            report.market | (external_ticks << 8) | (report.publish_time_s << 48) | (report.session << 88)
        )
        log IPriceOracle.ReportAccepted(
            market=convert(report.market, uint8),
            external_ticks=external_ticks,
            publish_time_s=report.publish_time_s,
            session=report.session,
        )
    return accepted


@external
def set_market(
    market: uint256,
    source_id: uint256,
    ticks_per_usd: uint256,
    max_confidence_ppm: uint256,
    multiplier_num: uint256,
    multiplier_den: uint256,
):
    """
    @notice Sets how a market is priced. Only the MarketRegistry, which validates market, ticks and multiplier.
    @param market Market id.
    @param source_id Source that prices it, known here.
    @param ticks_per_usd Price ticks of one US dollar per unit.
    @param max_confidence_ppm Largest accepted confidence as a share of the price.
    @param multiplier_num Shares per unit, numerator.
    @param multiplier_den Shares per unit, denominator.
    """
    assert msg.sender == REGISTRY, errors.NOT_REGISTRY
    assert self.sources[source_id] != empty(address), errors.SOURCE_UNKNOWN
    self.pricings[market] = MarketPricing(
        source_id=source_id,
        ticks_per_usd=ticks_per_usd,
        max_confidence_ppm=max_confidence_ppm,
        multiplier_num=multiplier_num,
        multiplier_den=multiplier_den,
    )
    log IPriceOracle.MarketPriced(
        market=convert(market, uint8),
        source_id=convert(source_id, uint8),
        ticks_per_usd=ticks_per_usd,
        max_confidence_ppm=max_confidence_ppm,
        multiplier_num=multiplier_num,
        multiplier_den=multiplier_den,
    )


@external
def set_source(source_id: uint256, source: address):
    """
    @notice Names a price source. An id is used once: replacing a source means moving its markets to a new id.
    @param source_id 1..255; 0 is taken since deployment.
    @param source The contract.
    """
    governed._check_governor()
    self._set_source(source_id, source)


@internal
@view
def _judge(report: IPriceSource.Report, source_id: uint256, matched_at_s: uint256) -> (uint256, uint256):
    """
    @notice Holds a report against the guards.
    @dev external_ticks = price_e8 x multiplier_num x ticks_per_usd // (multiplier_den x 1e8), rounded down.
    @param report The report.
    @param source_id Where it comes from.
    @param matched_at_s Time of the batch.
    @return The price in ticks and the code of the first failure, 0 for none.
    """
    pricing: MarketPricing = self.pricings[report.market]
    if pricing.ticks_per_usd == 0 or pricing.source_id != source_id:
        return 0, codes.REPORT_UNKNOWN_MARKET
    if report.price_e8 == 0:
        return 0, codes.NOT_POSITIVE
    if report.publish_time_s > matched_at_s:
        return 0, codes.FUTURE
    if report.publish_time_s <= self.last_publish_time_s[report.market]:
        return 0, codes.NOT_NEWER
    if matched_at_s - report.publish_time_s > MAX_REPORT_AGE_S:
        return 0, codes.TOO_OLD
    if report.confidence_e8 * 1_000_000 > report.price_e8 * pricing.max_confidence_ppm:
        return 0, codes.CONFIDENCE
    if report.session > MAX_SESSION:
        return 0, codes.UNKNOWN_SESSION
    external_ticks: uint256 = (
        report.price_e8 * pricing.multiplier_num * pricing.ticks_per_usd // (pricing.multiplier_den * E8)
    )
    if external_ticks == 0 or external_ticks >= MAX_EXTERNAL_TICKS:
        return 0, codes.OUT_OF_RANGE
    return external_ticks, 0


@internal
def _set_source(source_id: uint256, source: address):
    """
    @notice Names a price source under an unused id.
    @param source_id 0..255.
    @param source The contract.
    """
    assert source_id < 256, errors.SOURCE_OUT_OF_RANGE
    assert source != empty(address), errors.NO_ADDRESS
    assert self.sources[source_id] == empty(address), errors.SOURCE_TAKEN
    self.sources[source_id] = source
    log IPriceOracle.SourceSet(source_id=convert(source_id, uint8), source=source)
