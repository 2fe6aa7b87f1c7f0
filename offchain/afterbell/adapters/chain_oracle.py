"""Read what PriceOracle and CorporateActions keep now: the oracle of domain/oracle.py, as far as one second needs it.

Nothing is remembered here: after a restart the chain says which observations it has. Must not: judge a report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from afterbell.domain.calendar import FOREVER_S, Boundary, Calendar
from afterbell.domain.oracle import Observation, OracleMarket, OracleState, Override, PriceSource
from afterbell.domain.session import Session
from afterbell.domain.words import read_unsigned
from afterbell.ports import Chain
from afterbell.settlement.calldata import build_view_calldata

_NO_SOURCE: Final = 256
_N_WORD_BYTES: Final = 32
_N_OVERRIDE_BITS: Final = 88
_MARKET_VIEWS: Final = (b"pricings(uint256)", b"observation_words(uint256)", b"override_word(uint256)")


class ChainOracle:
    """Implements keepers.replay.OracleReader."""

    def __init__(
        self,
        *,
        chain: Chain,
        price_oracle: bytes,
        corporate_actions: bytes,
        market_ids: Sequence[int],
        sources: Mapping[int, PriceSource],
    ) -> None:
        """Take the contracts' addresses, the listed markets and the sources whose evidence the venue carries."""
        self._chain = chain
        self._price_oracle = price_oracle
        self._corporate_actions = corporate_actions
        self._market_ids = tuple(market_ids)
        self._sources = dict(sources)

    async def read_oracle(self, time_s: int) -> OracleState:
        """Return the oracle at the latest block, with the calendar's window of a second. Raises: ChainUnavailable."""
        calls = [(self._price_oracle, build_view_calldata(b"window_at(uint256)", time_s))]
        for market_id in self._market_ids:
            calls += [(self._price_oracle, build_view_calldata(view, market_id)) for view in _MARKET_VIEWS]
            calls.append((self._corporate_actions, build_view_calldata(b"halt_from(uint256)", market_id)))
        answers = [_split(answer) for answer in await self._chain.call_many(calls)]
        session, start_s, end_s = answers[0]
        oracle = OracleState(sources=dict(self._sources), calendar=_window_calendar(session, start_s, end_s))
        per_market = len(_MARKET_VIEWS) + 1
        for place, market_id in enumerate(self._market_ids):
            first = 1 + place * per_market
            pricing, (primary, second), (overrides,), (halt_from_s,) = answers[first : first + per_market]
            oracle.markets[market_id] = _read_market(pricing)
            oracle.primaries[market_id] = read_observation(primary)
            oracle.seconds[market_id] = read_observation(second)
            oracle.halts_from_s[market_id] = halt_from_s
            for is_guardian in (False, True):
                word = overrides >> _N_OVERRIDE_BITS * is_guardian
                oracle.overrides[market_id, is_guardian] = Override(
                    session=read_unsigned(word, 8, 0),
                    until_s=read_unsigned(word, 40, 8),
                    from_s=read_unsigned(word, 40, 48),
                )
        return oracle


def read_observation(word: int) -> Observation:
    """Return what an observation word of PriceOracle says."""
    session, accepted = read_unsigned(word, 8, 112), read_unsigned(word, 8, 120)
    return Observation(
        price_e8=read_unsigned(word, 64, 0),
        publish_time_s=read_unsigned(word, 40, 64),
        source_id=read_unsigned(word, 8, 104),
        session=session - 1 if session else None,
        accepted_session=accepted - 1 if accepted else None,
        jump_price_e8=read_unsigned(word, 64, 128),
        jump_time_s=read_unsigned(word, 40, 192),
    )


def _window_calendar(session: int, start_s: int, end_s: int) -> Calendar:
    """Return a calendar that knows one window."""
    boundaries = [Boundary(start_s=start_s, session=session)] if start_s else []
    if end_s < FOREVER_S:
        boundaries.append(Boundary(start_s=end_s, session=Session.UNKNOWN))
    return Calendar(tuple(boundaries))


def _read_market(words: Sequence[int]) -> OracleMarket:
    """Return PriceOracle's MarketPricing."""
    source, ticks_per_usd, confidence, num, den, second, previous, until_s, previous_second, second_until_s = words
    return OracleMarket(
        source_id=source,
        ticks_per_usd=ticks_per_usd,
        max_confidence_ppm=confidence,
        multiplier_num=num,
        multiplier_den=den,
        second_source_id=_source_or_none(second),
        previous_source_id=_source_or_none(previous),
        previous_until_s=until_s,
        previous_second_id=_source_or_none(previous_second),
        second_changed_until_s=second_until_s,
    )


def _source_or_none(source_id: int) -> int | None:
    return None if source_id == _NO_SOURCE else source_id


def _split(answer: bytes) -> list[int]:
    """Return the words of an answer without dynamic parts."""
    return [int.from_bytes(answer[at : at + _N_WORD_BYTES], "big") for at in range(0, len(answer), _N_WORD_BYTES)]
