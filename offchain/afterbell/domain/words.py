"""Pack and unpack the storage words of the Clearinghouse, bit for bit.

Bit 0 is the least significant. Signed lanes are two's complement. Every lane is range-checked when packed: a number
that does not fit raises FieldOutOfRange, as the contract reverts. Must not: know a rule. Twin: packing.vy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from afterbell.domain.errors import FieldOutOfRange

CONSUMED_LOTS: Final = (1 << 48) - 1
"""`filled` of a lane that takes no further fill: all ones."""
MAX_OPEN_MARKETS: Final = 6
N_ENTRY_BITS: Final = 92
"""Bits of an entry beside its sign, narrower than its lane: six of them and collateral must sum inside int96."""
N_COLLATERAL_BITS: Final = 71
ACCOUNT_FLAG_OVERFLOW: Final = 1
"""Flag of an account word: an overflow word exists; never cleared."""
RULES_FLAG_CHANGING: Final = 1 << 170
"""Bit of a rules word that only the Clearinghouse sets: a successor exists."""
RULES_FLAG_TIERED: Final = 1 << 171
"""Bit of a rules word: the tier word of its session counts."""
MAX_TIERS: Final = 3
KEY_LIMITS_MASK: Final = (1 << 138) - 1
"""The part of a session key word that its owner signs."""
KEY_REVOKED_AT_MASK: Final = ((1 << 40) - 1) << 144
KEY_LINKED: Final = 1 << 255


def unsigned_lane(number: int, n_bits: int, offset: int, name: str) -> int:
    """Return `number` shifted into its lane. Raises: FieldOutOfRange."""
    if not 0 <= number < 1 << n_bits:
        raise FieldOutOfRange(name, number, 0, (1 << n_bits) - 1)
    return number << offset


def signed_lane(number: int, n_bits: int, offset: int, name: str) -> int:
    """Return a signed `number` as two's complement, shifted into its lane. Raises: FieldOutOfRange."""
    half = 1 << (n_bits - 1)
    if not -half <= number < half:
        raise FieldOutOfRange(name, number, -half, half - 1)
    return (number & ((1 << n_bits) - 1)) << offset


def validate_entry(entry_quote: int) -> None:
    """Check the bound of an entry when a position is written. Raises: FieldOutOfRange."""
    _validate_bits("entry_quote", entry_quote, N_ENTRY_BITS)


def validate_collateral(collateral_quote: int) -> None:
    """Check the bound of collateral whenever it moves, also inside a batch. Raises: FieldOutOfRange."""
    _validate_bits("collateral_quote", collateral_quote, N_COLLATERAL_BITS)


def _validate_bits(name: str, number: int, n_bits: int) -> None:
    if not -1 << n_bits <= number < 1 << n_bits:
        raise FieldOutOfRange(name, number, -1 << n_bits, (1 << n_bits) - 1)


def read_unsigned(word: int, n_bits: int, offset: int) -> int:
    """Return the unsigned lane at `offset`."""
    return (word >> offset) & ((1 << n_bits) - 1)


def read_signed(word: int, n_bits: int, offset: int) -> int:
    """Return the two's complement lane at `offset`."""
    lane = (word >> offset) & ((1 << n_bits) - 1)
    return lane - (1 << n_bits) if lane >> (n_bits - 1) else lane


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionWord:
    """One position.

    0-63    size_lots       int64   long > 0
    64-159  entry_quote     int96   cash-flow ledger; 0 when size is 0
    160-255 index_snapshot  int96   1e-12 quote per lot; kept when size is 0
    """

    size_lots: int = 0
    entry_quote: int = 0
    index_snapshot_e12: int = 0

    def pack(self) -> int:
        """Return the 256-bit word."""
        return (
            signed_lane(self.size_lots, 64, 0, "size_lots")
            | signed_lane(self.entry_quote, 96, 64, "entry_quote")
            | signed_lane(self.index_snapshot_e12, 96, 160, "index_snapshot_e12")
        )

    @classmethod
    def unpack(cls, word: int) -> PositionWord:
        """Read the 256-bit word."""
        return cls(
            size_lots=read_signed(word, 64, 0),
            entry_quote=read_signed(word, 96, 64),
            index_snapshot_e12=read_signed(word, 96, 160),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountWord:
    """One account.

    0-71    collateral_quote  int72      may be negative while a position is open
    72-111  min_seq           uint40     orders with a lower seq are dead
    112-151 lane0_seq         uint40
    152-199 lane0_filled      uint48     lots; all ones = consumed
    200-247 open_markets      6 x uint8  market ids, 0 = free; slot 0 at bit 200
    248-255 flags             uint8      bit 0: an overflow word exists
    """

    collateral_quote: int = 0
    min_seq: int = 0
    lane0_seq: int = 0
    lane0_filled_lots: int = 0
    open_markets: tuple[int, ...] = (0, 0, 0, 0, 0, 0)
    flags: int = 0

    def pack(self) -> int:
        """Return the 256-bit word."""
        word = (
            signed_lane(self.collateral_quote, 72, 0, "collateral_quote")
            | unsigned_lane(self.min_seq, 40, 72, "min_seq")
            | unsigned_lane(self.lane0_seq, 40, 112, "lane0_seq")
            | unsigned_lane(self.lane0_filled_lots, 48, 152, "lane0_filled_lots")
            | unsigned_lane(self.flags, 8, 248, "flags")
        )
        if len(self.open_markets) != MAX_OPEN_MARKETS:
            raise FieldOutOfRange("open_markets", len(self.open_markets), MAX_OPEN_MARKETS, MAX_OPEN_MARKETS)
        for slot, market_id in enumerate(self.open_markets):
            word |= unsigned_lane(market_id, 8, 200 + 8 * slot, "open_markets")
        return word

    @classmethod
    def unpack(cls, word: int) -> AccountWord:
        """Read the 256-bit word."""
        return cls(
            collateral_quote=read_signed(word, 72, 0),
            min_seq=read_unsigned(word, 40, 72),
            lane0_seq=read_unsigned(word, 40, 112),
            lane0_filled_lots=read_unsigned(word, 48, 152),
            open_markets=tuple((word >> (200 + 8 * slot)) & 0xFF for slot in range(MAX_OPEN_MARKETS)),
            flags=read_unsigned(word, 8, 248),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OverflowWord:
    """What an owner's cancel-all on chain leaves beside the account word; absent until the first.

    0-39   pending_min_seq  uint40   binds matches later than pending_since + SETTLE_LAG
    40-79  pending_since_s  uint40
    80-119 bound_min_seq    uint40   the ones before, bound by now
    120-255 zero
    """

    pending_min_seq: int = 0
    pending_since_s: int = 0
    bound_min_seq: int = 0

    def pack(self) -> int:
        """Return the 256-bit word."""
        return (
            unsigned_lane(self.pending_min_seq, 40, 0, "pending_min_seq")
            | unsigned_lane(self.pending_since_s, 40, 40, "pending_since_s")
            | unsigned_lane(self.bound_min_seq, 40, 80, "bound_min_seq")
        )

    @classmethod
    def unpack(cls, word: int) -> OverflowWord:
        """Read the 256-bit word."""
        return cls(
            pending_min_seq=read_unsigned(word, 40, 0),
            pending_since_s=read_unsigned(word, 40, 40),
            bound_min_seq=read_unsigned(word, 40, 80),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionKeyWord:
    """What one key may sign for one account.

    0-39    expiry_s            uint40
    40-103  max_notional_quote  uint64   of one order
    104-135 markets             uint32   bit m - 1 allows market m
    136     trade_only          137 reduce_only          138-143 zero
    144-183 revoked_at_s        uint40   0 = never revoked on chain
    184-254 zero                255 linked: set by the first link or batched revocation, never cleared
    """

    expiry_s: int = 0
    max_notional_quote: int = 0
    markets: int = 0
    trade_only: bool = False
    reduce_only: bool = False
    revoked_at_s: int = 0
    is_linked: bool = False

    def pack(self) -> int:
        """Return the 256-bit word."""
        return (
            unsigned_lane(self.expiry_s, 40, 0, "expiry_s")
            | unsigned_lane(self.max_notional_quote, 64, 40, "max_notional_quote")
            | unsigned_lane(self.markets, 32, 104, "markets")
            | self.trade_only << 136
            | self.reduce_only << 137
            | unsigned_lane(self.revoked_at_s, 40, 144, "revoked_at_s")
            | self.is_linked << 255
        )

    @classmethod
    def unpack(cls, word: int) -> SessionKeyWord:
        """Read the 256-bit word."""
        return cls(
            expiry_s=read_unsigned(word, 40, 0),
            max_notional_quote=read_unsigned(word, 64, 40),
            markets=read_unsigned(word, 32, 104),
            trade_only=bool(word >> 136 & 1),
            reduce_only=bool(word >> 137 & 1),
            revoked_at_s=read_unsigned(word, 40, 144),
            is_linked=bool(word >> 255),
        )

    def allows_market(self, market_id: int) -> bool:
        """Tell whether the key may trade a market, 1 to 32."""
        return bool(self.markets >> (market_id - 1) & 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneWord:
    """Two lanes of an account, 2n and 2n + 1. Lane 0 lives in the account word; its half here stays zero.

    0-39   even_seq          uint40
    40-87  even_filled_lots  uint48   all ones = consumed
    88-127 odd_seq           uint40
    128-175 odd_filled_lots  uint48
    176-255 zero
    """

    even_seq: int = 0
    even_filled_lots: int = 0
    odd_seq: int = 0
    odd_filled_lots: int = 0

    def pack(self) -> int:
        """Return the 256-bit word."""
        return (
            unsigned_lane(self.even_seq, 40, 0, "even_seq")
            | unsigned_lane(self.even_filled_lots, 48, 40, "even_filled_lots")
            | unsigned_lane(self.odd_seq, 40, 88, "odd_seq")
            | unsigned_lane(self.odd_filled_lots, 48, 128, "odd_filled_lots")
        )

    @classmethod
    def unpack(cls, word: int) -> LaneWord:
        """Read the 256-bit word."""
        return cls(
            even_seq=read_unsigned(word, 40, 0),
            even_filled_lots=read_unsigned(word, 48, 40),
            odd_seq=read_unsigned(word, 40, 88),
            odd_filled_lots=read_unsigned(word, 48, 128),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceWord:
    """Prices and session of a market.

    0-39    mark_ticks       uint40   0 = never set
    40-79   index_ticks      uint40
    80-119  external_ticks   uint40   last accepted report
    120-159 external_time_s  uint40
    160-199 mark_time_s      uint40   last time the mark was allowed to move
    200-207 session          uint8
    208-239 epoch            uint32   1 at listing; 0 = not listed
    240-255 session_minutes  uint16   whole minutes after external_time_s until which session and price were stated
    """

    mark_ticks: int = 0
    index_ticks: int = 0
    external_ticks: int = 0
    external_time_s: int = 0
    mark_time_s: int = 0
    session: int = 0
    epoch: int = 0
    session_minutes: int = 0

    def pack(self) -> int:
        """Return the 256-bit word."""
        return (
            unsigned_lane(self.mark_ticks, 40, 0, "mark_ticks")
            | unsigned_lane(self.index_ticks, 40, 40, "index_ticks")
            | unsigned_lane(self.external_ticks, 40, 80, "external_ticks")
            | unsigned_lane(self.external_time_s, 40, 120, "external_time_s")
            | unsigned_lane(self.mark_time_s, 40, 160, "mark_time_s")
            | unsigned_lane(self.session, 8, 200, "session")
            | unsigned_lane(self.epoch, 32, 208, "epoch")
            | unsigned_lane(self.session_minutes, 16, 240, "session_minutes")
        )

    @classmethod
    def unpack(cls, word: int) -> PriceWord:
        """Read the 256-bit word."""
        return cls(
            mark_ticks=read_unsigned(word, 40, 0),
            index_ticks=read_unsigned(word, 40, 40),
            external_ticks=read_unsigned(word, 40, 80),
            external_time_s=read_unsigned(word, 40, 120),
            mark_time_s=read_unsigned(word, 40, 160),
            session=read_unsigned(word, 8, 200),
            epoch=read_unsigned(word, 32, 208),
            session_minutes=read_unsigned(word, 16, 240),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesWord:
    """Rules of one market in one session.

    0-19    initial_margin_ppm      20-39  settlement_margin_ppm   40-59  maintenance_margin_ppm
    60-79   band_ppm                80-95  mark_step_ppm per 3 s   96-111 max_age_s (0 = no limit)
    112-151 open_interest_cap_lots  152-167 account_share: account cap = cap x share >> 16, 0 = the cap itself
    168-175 flags: bit 0 openings allowed, bit 1 funding on, bit 2 changing (a successor exists; not the registry's),
            bit 3 tiered (the tier word counts)
    176-191 size_step_lots          192-207 price_step_ticks       208-239 min_notional_quote
    240-255 max_fee_ppm
    """

    initial_margin_ppm: int
    settlement_margin_ppm: int
    maintenance_margin_ppm: int
    band_ppm: int
    mark_step_ppm: int
    max_age_s: int
    open_interest_cap_lots: int
    is_opening_allowed: bool
    is_funding_on: bool
    size_step_lots: int
    price_step_ticks: int
    min_notional_quote: int
    max_fee_ppm: int
    account_share: int = 0
    is_changing: bool = False
    is_tiered: bool = False
    reserved_flags: int = 0
    tiers: tuple[tuple[int, int], ...] = ()
    """(edge_usdc, add_ppm) of the tier word beside this one, where it counts; not a part of the word."""

    def pack(self) -> int:
        """Return the 256-bit word."""
        flags = (
            self.is_opening_allowed
            | self.is_funding_on << 1
            | self.is_changing << 2
            | self.is_tiered << 3
            | unsigned_lane(self.reserved_flags, 4, 4, "flags")
        )
        return (
            unsigned_lane(self.initial_margin_ppm, 20, 0, "initial_margin_ppm")
            | unsigned_lane(self.settlement_margin_ppm, 20, 20, "settlement_margin_ppm")
            | unsigned_lane(self.maintenance_margin_ppm, 20, 40, "maintenance_margin_ppm")
            | unsigned_lane(self.band_ppm, 20, 60, "band_ppm")
            | unsigned_lane(self.mark_step_ppm, 16, 80, "mark_step_ppm")
            | unsigned_lane(self.max_age_s, 16, 96, "max_age_s")
            | unsigned_lane(self.open_interest_cap_lots, 40, 112, "open_interest_cap_lots")
            | unsigned_lane(self.account_share, 16, 152, "account_share")
            | unsigned_lane(flags, 8, 168, "flags")
            | unsigned_lane(self.size_step_lots, 16, 176, "size_step_lots")
            | unsigned_lane(self.price_step_ticks, 16, 192, "price_step_ticks")
            | unsigned_lane(self.min_notional_quote, 32, 208, "min_notional_quote")
            | unsigned_lane(self.max_fee_ppm, 16, 240, "max_fee_ppm")
        )

    @classmethod
    def unpack(cls, word: int) -> RulesWord:
        """Read the 256-bit word."""
        flags = read_unsigned(word, 8, 168)
        return cls(
            initial_margin_ppm=read_unsigned(word, 20, 0),
            settlement_margin_ppm=read_unsigned(word, 20, 20),
            maintenance_margin_ppm=read_unsigned(word, 20, 40),
            band_ppm=read_unsigned(word, 20, 60),
            mark_step_ppm=read_unsigned(word, 16, 80),
            max_age_s=read_unsigned(word, 16, 96),
            open_interest_cap_lots=read_unsigned(word, 40, 112),
            account_share=read_unsigned(word, 16, 152),
            is_opening_allowed=bool(flags & 1),
            is_funding_on=bool(flags & 2),
            size_step_lots=read_unsigned(word, 16, 176),
            price_step_ticks=read_unsigned(word, 16, 192),
            min_notional_quote=read_unsigned(word, 32, 208),
            max_fee_ppm=read_unsigned(word, 16, 240),
            is_changing=bool(flags & 4),
            is_tiered=bool(flags & 8),
            reserved_flags=flags >> 4,
        )

    @property
    def account_cap_lots(self) -> int:
        """Return the most lots one account may grow to."""
        cap_lots = self.open_interest_cap_lots
        return cap_lots * self.account_share >> 16 if self.account_share else cap_lots


@dataclass(frozen=True, slots=True, kw_only=True)
class TierWord:
    """Margin that grows with the notional: three times edge u48 (whole USDC) and add_ppm u20, from bit 0.

    Edges ascend; an edge of 0 is unused. Above each edge the requirement of every further quote grows by add_ppm.
    """

    tiers: tuple[tuple[int, int], ...] = ()
    """(edge_usdc, add_ppm)."""

    def pack(self) -> int:
        """Return the 256-bit word."""
        if len(self.tiers) > MAX_TIERS:
            raise FieldOutOfRange("tiers", len(self.tiers), 0, MAX_TIERS)
        word = 0
        for index, (edge_usdc, add_ppm) in enumerate(self.tiers):
            word |= unsigned_lane(edge_usdc, 48, 68 * index, "edge_usdc")
            word |= unsigned_lane(add_ppm, 20, 68 * index + 48, "add_ppm")
        return word

    @classmethod
    def unpack(cls, word: int) -> TierWord:
        """Read the 256-bit word."""
        pairs = [
            (read_unsigned(word, 48, 68 * index), read_unsigned(word, 20, 68 * index + 48))
            for index in range(MAX_TIERS)
        ]
        return cls(tiers=tuple(pair for pair in pairs if pair[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexWord:
    """Funding indices of a market, 1e-12 quote per lot since listing, and a dividend announced for it.

    0-95 long_index int96 | 96-191 short_index int96
    192-231 funding_time_s uint40   until when funding has accrued; 0 = never
    232-255 reserve_ticks  uint24   added to the price shorts are valued at
    """

    long_index_e12: int = 0
    short_index_e12: int = 0
    funding_time_s: int = 0
    reserve_ticks: int = 0

    def pack(self) -> int:
        """Return the 256-bit word."""
        return (
            signed_lane(self.long_index_e12, 96, 0, "long_index_e12")
            | signed_lane(self.short_index_e12, 96, 96, "short_index_e12")
            | unsigned_lane(self.funding_time_s, 40, 192, "funding_time_s")
            | unsigned_lane(self.reserve_ticks, 24, 232, "reserve_ticks")
        )

    @classmethod
    def unpack(cls, word: int) -> IndexWord:
        """Read the 256-bit word."""
        return cls(
            long_index_e12=read_signed(word, 96, 0),
            short_index_e12=read_signed(word, 96, 96),
            funding_time_s=read_unsigned(word, 40, 192),
            reserve_ticks=read_unsigned(word, 24, 232),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalsWord:
    """Running totals of a market.

    0-63    open_interest_lots  uint64  sum of long lots
    64-159  net_entry_quote     int96   sum of entries
    160-255 pot_quote           int96   funding dust and spread
    """

    open_interest_lots: int = 0
    net_entry_quote: int = 0
    pot_quote: int = 0

    def pack(self) -> int:
        """Return the 256-bit word."""
        return (
            unsigned_lane(self.open_interest_lots, 64, 0, "open_interest_lots")
            | signed_lane(self.net_entry_quote, 96, 64, "net_entry_quote")
            | signed_lane(self.pot_quote, 96, 160, "pot_quote")
        )

    @classmethod
    def unpack(cls, word: int) -> TotalsWord:
        """Read the 256-bit word."""
        return cls(
            open_interest_lots=read_unsigned(word, 64, 0),
            net_entry_quote=read_signed(word, 96, 64),
            pot_quote=read_signed(word, 96, 160),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchWord:
    """State of the batch chain and the two totals that span markets.

    0-39    sequence          uint40  of the last batch
    40-79   matched_at_s      uint40  of the last batch
    80-159  fees_quote        uint80  all fees charged so far
    160-255 collateral_quote  int96   sum over accounts
    """

    sequence: int = 0
    matched_at_s: int = 0
    fees_quote: int = 0
    collateral_quote: int = 0

    def pack(self) -> int:
        """Return the 256-bit word."""
        return (
            unsigned_lane(self.sequence, 40, 0, "sequence")
            | unsigned_lane(self.matched_at_s, 40, 40, "matched_at_s")
            | unsigned_lane(self.fees_quote, 80, 80, "fees_quote")
            | signed_lane(self.collateral_quote, 96, 160, "collateral_quote")
        )

    @classmethod
    def unpack(cls, word: int) -> BatchWord:
        """Read the 256-bit word."""
        return cls(
            sequence=read_unsigned(word, 40, 0),
            matched_at_s=read_unsigned(word, 40, 40),
            fees_quote=read_unsigned(word, 80, 80),
            collateral_quote=read_signed(word, 96, 160),
        )


def replace_key_limits(word: int, limits: int) -> int:
    """Return a session key word after a link in a batch, or a revocation (limits 0): only the chain's clock stays."""
    return limits | word & KEY_REVOKED_AT_MASK | KEY_LINKED


def pack_change(*, size_change_lots: int, realised_quote: int, fees_quote: int) -> int:
    """Return the `change` word of PositionsChanged: 0-63 int64 | 64-159 int96 | 160-255 uint96."""
    return (
        signed_lane(size_change_lots, 64, 0, "size_change_lots")
        | signed_lane(realised_quote, 96, 64, "realised_quote")
        | unsigned_lane(fees_quote, 96, 160, "fees_quote")
    )


def unpack_change(word: int) -> tuple[int, int, int]:
    """Return (size_change_lots, realised_quote, fees_quote) of a `change` word."""
    return read_signed(word, 64, 0), read_signed(word, 96, 64), read_unsigned(word, 96, 160)
