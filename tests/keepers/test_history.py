"""Real bars in, prices and steps out: what the replay promises about the past.

Expected numbers are read off the bundled CSV or worked out by hand.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterbell.adapters.history import (
    load_history,
    parse_bars,
    read_bars_file,
    read_bundled_bars,
    read_replay_settings,
    write_replay_settings,
)
from afterbell.domain.calendar import Boundary
from afterbell.domain.session import Session
from afterbell.keepers.bars import BadHistory, DailyBar, Split, compute_split, find_split, format_e8, parse_e8
from afterbell.keepers.history import MAX_CLOSED_STEP_S, MarketBars, PriceHistory, build_history
from afterbell.keepers.paths import KNOT_STEP_S, SESSION_S, build_knots, compute_price_e8
from afterbell.keepers.sessions import compute_close_s, compute_open_s
from afterbell.keepers.synthetic import build_synthetic_bars

SYMBOLS = ("AAPL", "MSFT", "IBM", "GOOG", "TSLA")
USD = 10**8


@pytest.fixture(scope="module")
def bundled() -> dict[str, MarketBars]:
    return read_bundled_bars()


@pytest.fixture(scope="module")
def history(bundled: dict[str, MarketBars]) -> PriceHistory:
    return build_history(SYMBOLS, bundled)


def _at(text: str) -> int:
    """Return the UNIX second of a UTC time written out."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@st.composite
def bars(draw: st.DrawFn) -> DailyBar:
    low_e8, high_e8 = sorted(draw(st.lists(st.integers(1, 2000 * USD), min_size=2, max_size=2)))
    inside = st.integers(low_e8, high_e8)
    return DailyBar(
        day=draw(st.dates(date(2000, 1, 1), date(2030, 1, 1))),
        open_e8=draw(inside),
        high_e8=high_e8,
        low_e8=low_e8,
        close_e8=draw(inside),
    )


# --- reading -----------------------------------------------------------------------------------------------------


def test_bundled_bars__first_aapl_row__read_exactly(bundled: dict[str, MarketBars]) -> None:
    """The file's first row: AAPL,2000-03-01,118.56,132.06,118.5,130.31."""
    assert bundled["AAPL"].bars[0] == DailyBar(
        day=date(2000, 3, 1),
        open_e8=11_856_000_000,
        high_e8=13_206_000_000,
        low_e8=11_850_000_000,
        close_e8=13_031_000_000,
    )
    assert {symbol: len(market.bars) for symbol, market in bundled.items()} == {
        "AAPL": 3270,
        "GOOG": 2148,
        "IBM": 3270,
        "MSFT": 3270,
    }


@pytest.mark.parametrize(
    ("text", "price_e8"), [("1", USD), ("0.1", 10_000_000), ("118.50", 11_850_000_000), ("1.00000001", USD + 1)]
)
def test_parse_e8__plain_decimal__is_exact(text: str, price_e8: int) -> None:
    assert parse_e8(text) == price_e8
    assert parse_e8(format_e8(price_e8)) == price_e8


@pytest.mark.parametrize("text", ["", "-1", "1e3", "1,000", "nan", "0.123456789", "٣"])
def test_parse_e8__anything_else__is_refused(text: str) -> None:
    with pytest.raises(BadHistory, match="price"):
        parse_e8(text)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("2011-01-04,10,11,9,12", "line 3: .*required low <= open, close <= high"),
        ("2011-01-04,10,11,0,10", "line 3: .*must be positive"),
        ("2011-01-03,10,11,9,10", "line 3: days must ascend"),
        ("04.01.2011,10,11,9,10", "line 3: Invalid isoformat"),
        ("2011-01-04,10,11,9", "line 3: required 5 fields, found 4"),
        ("2011-01-04,10,eleven,9,10", "line 3: a price is a plain decimal"),
    ],
)
def test_parse_bars__bad_row__error_names_file_and_line(row: str, complaint: str) -> None:
    text = f"date,open,high,low,close\n2011-01-03,10,11,9,10\n{row}\n"

    with pytest.raises(BadHistory, match=complaint):
        parse_bars(text, "TSLA", source="tsla.csv")


def test_parse_bars__missing_column__is_named() -> None:
    with pytest.raises(BadHistory, match="missing low"):
        parse_bars("Date,Open,High,Close\n", "TSLA", source="tsla.csv")


def test_parse_bars__index_and_volume_columns__are_ignored() -> None:
    """The shape of the TSLA file: an unnamed index first, volume last."""
    text = ",date,open,high,low,close,volume\n0,2010-06-29,1.2667,1.6667,1.1693,1.5927,277519500.0\n"

    (bar,) = parse_bars(text, "TSLA", source="tsla.csv")

    assert (bar.open_e8, bar.close_e8) == (126_670_000, 159_270_000)


def test_shared_tsla_file__read_as_user_history__has_no_split(shared_data: Path) -> None:
    market = read_bars_file(shared_data / "TSLA_daily.csv", "TSLA")

    assert market.bars[0].day == date(2010, 6, 29)
    assert find_split(market.bars, market.bars[0].day) is None


def test_shared_tsla_file__prices_as_traded__has_both_splits(shared_data: Path) -> None:
    """The file is adjusted: x15 before 2020-08-31 and x3 before 2022-08-25 gives back what was traded."""
    raw = tuple(
        _scale(bar, 15 if bar.day < date(2020, 8, 31) else 3 if bar.day < date(2022, 8, 25) else 1)
        for bar in read_bars_file(shared_data / "TSLA_daily.csv", "TSLA").bars
    )

    first = find_split(raw, raw[0].day)
    assert first is not None
    second = find_split(raw, first.day)
    assert second is not None
    assert (first.day, first.n_new) == (date(2020, 8, 31), 5)
    assert (second.day, second.n_new) == (date(2022, 8, 25), 3)
    assert find_split(raw, second.day) is None


def _scale(bar: DailyBar, factor: int) -> DailyBar:
    return DailyBar(
        day=bar.day,
        open_e8=bar.open_e8 * factor,
        high_e8=bar.high_e8 * factor,
        low_e8=bar.low_e8 * factor,
        close_e8=bar.close_e8 * factor,
    )


# --- splits ------------------------------------------------------------------------------------------------------


def test_find_split__bundled_data__finds_the_three_real_ones(bundled: dict[str, MarketBars]) -> None:
    found = []
    for symbol, market in bundled.items():
        day = market.bars[0].day
        while (split := find_split(market.bars, day)) is not None:
            found.append((symbol, split.day, split.n_new, split.n_old))
            day = split.day

    assert sorted(found) == [
        ("AAPL", date(2000, 6, 21), 2, 1),
        ("AAPL", date(2005, 2, 28), 2, 1),
        ("MSFT", date(2003, 2, 18), 2, 1),
    ]


def test_compute_split__gap_of_minus_47_percent__is_no_split(bundled: dict[str, MarketBars]) -> None:
    """AAPL closed at 53.50 on 2000-09-28 and opened at 28.19: 0.5269, 5.4 % away from a half."""
    assert compute_split(5_350_000_000, 2_819_000_000, date(2000, 9, 29)) is None
    assert any(
        previous.close_e8 == 5_350_000_000 and bar.open_e8 == 2_819_000_000
        for previous, bar in zip(bundled["AAPL"].bars, bundled["AAPL"].bars[1:], strict=False)
    )


@pytest.mark.parametrize(("n_new", "n_old"), [(2, 1), (3, 1), (7, 1), (15, 1), (20, 1), (1, 2), (1, 10)])
def test_compute_split__whole_ratio__is_recognised(n_new: int, n_old: int) -> None:
    close_e8 = 210 * USD
    open_e8 = close_e8 * n_old // n_new * 101 // 100

    split = compute_split(close_e8, open_e8, date(2020, 8, 31))

    assert split == Split(day=date(2020, 8, 31), n_new=n_new, n_old=n_old, previous_close_e8=close_e8, open_e8=open_e8)


@given(st.integers(65, 135))
def test_compute_split__move_within_35_percent__is_never_a_split(percent: int) -> None:
    assert compute_split(100 * USD, percent * USD, date(2020, 1, 2)) is None


def test_history__split_on_the_way__halts_that_market_and_says_so(bundled: dict[str, MarketBars]) -> None:
    """AAPL closes at 88.99 on Friday 2005-02-25 and splits 2:1 on Monday 2005-02-28."""
    history = build_history(SYMBOLS, bundled, start=date(2005, 2, 24))
    friday_night, monday_open = _at("2005-02-26T03:00:00"), _at("2005-02-28T14:30:00")

    assert history.find_halts(friday_night) == ()
    (halt,) = history.find_halts(monday_open)
    assert halt.symbol == "AAPL"
    assert halt.time_s == _at("2005-02-28T05:00:00")
    assert "2:1 split" in halt.reason and "44.68 USD" in halt.reason and "88.99 USD" in halt.reason
    observed = history.observe("AAPL", monday_open)
    assert observed is not None
    assert (observed.price_e8, observed.session) == (8_899_000_000, Session.HALTED)
    other = history.observe("IBM", monday_open)
    assert other is not None and other.session == Session.REGULAR


def test_history__default_start__has_no_halt_until_the_end(history: PriceHistory) -> None:
    assert history.days[0] == date(2005, 3, 1)
    assert history.find_halts(history.end_s) == ()


# --- paths -------------------------------------------------------------------------------------------------------


@given(bars(), st.integers(0, SESSION_S), st.text(max_size=8))
def test_path__any_second__stays_inside_the_bar(bar: DailyBar, second: int, seed: str) -> None:
    price_e8 = compute_price_e8(bar, second, seed, "AAPL")

    assert bar.low_e8 <= price_e8 <= bar.high_e8
    assert price_e8 == compute_price_e8(bar, second, seed, "AAPL")


@given(bars(), st.text(max_size=8))
def test_path__open_extremes_close__are_hit_exactly_on_the_default_step(bar: DailyBar, seed: str) -> None:
    prices_e8 = [compute_price_e8(bar, second, seed, "AAPL") for second in range(0, SESSION_S + 1, KNOT_STEP_S)]

    assert prices_e8[0] == bar.open_e8
    assert prices_e8[-1] == bar.close_e8
    assert max(prices_e8) == bar.high_e8
    assert min(prices_e8) == bar.low_e8


def test_path__two_hundred_days__order_of_the_extremes_varies(bundled: dict[str, MarketBars]) -> None:
    low_first = [build_knots(bar, "seed", "AAPL")[1][1] == bar.low_e8 for bar in bundled["AAPL"].bars[:200]]

    assert 60 < sum(low_first) < 140


def test_path__another_seed_symbol_or_day__is_another_path() -> None:
    bar = DailyBar(day=date(2005, 3, 1), open_e8=45 * USD, high_e8=46 * USD, low_e8=44 * USD, close_e8=45 * USD)
    other_day = DailyBar(day=date(2005, 3, 2), open_e8=45 * USD, high_e8=46 * USD, low_e8=44 * USD, close_e8=45 * USD)

    prices_e8 = {
        compute_price_e8(bar, 12_345, "a", "AAPL"),
        compute_price_e8(bar, 12_345, "b", "AAPL"),
        compute_price_e8(bar, 12_345, "a", "IBM"),
        compute_price_e8(other_day, 12_345, "a", "AAPL"),
    }

    assert len(prices_e8) == 4


def test_path__one_minute_apart__moves_little(bundled: dict[str, MarketBars]) -> None:
    """A path is a path, not noise: a minute never covers more than a third of the day's range."""
    for bar in bundled["IBM"].bars[1500:1510]:
        prices_e8 = [compute_price_e8(bar, second, "seed", "IBM") for second in range(0, SESSION_S + 1, 60)]
        steps = [abs(b - a) for a, b in zip(prices_e8, prices_e8[1:], strict=False)]
        assert max(steps) * 3 < bar.high_e8 - bar.low_e8


# --- time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "open_utc", "close_utc"),
    [
        (date(2005, 4, 1), "2005-04-01T14:30:00", "2005-04-01T21:00:00"),  # winter: New York is UTC-5
        (date(2005, 4, 4), "2005-04-04T13:30:00", "2005-04-04T20:00:00"),  # after the change of 2005-04-03
        (date(2007, 3, 12), "2007-03-12T13:30:00", "2007-03-12T20:00:00"),  # the change moved to March in 2007
        (date(2005, 10, 31), "2005-10-31T14:30:00", "2005-10-31T21:00:00"),
    ],
)
def test_session__around_clock_changes__follows_new_york(day: date, open_utc: str, close_utc: str) -> None:
    assert compute_open_s(day) == _at(open_utc)
    assert compute_close_s(day) == _at(close_utc)


def test_steps__first_day__open_every_ten_minutes_close_then_at_most_six_hours(history: PriceHistory) -> None:
    """2005-03-01: 14:30 to 21:00 UTC; then 03:00, 09:00 and the next open at 14:30."""
    steps = [history.start_s]
    while len(steps) < 43:
        following = history.compute_next_step_s(steps[-1])
        assert following is not None
        steps.append(following)

    open_s = _at("2005-03-01T14:30:00")
    assert steps[:40] == [open_s + 600 * n for n in range(40)]
    assert steps[39:] == [
        _at("2005-03-01T21:00:00"),
        _at("2005-03-02T03:00:00"),
        _at("2005-03-02T09:00:00"),
        _at("2005-03-02T14:30:00"),
    ]
    assert history.count_steps_of_day(open_s) == 42


def test_steps__whole_history__never_more_than_six_hours_and_hit_every_open_and_close(history: PriceHistory) -> None:
    seen = {history.start_s}
    time_s: int | None = history.start_s
    while time_s is not None:
        following = history.compute_next_step_s(time_s)
        if following is not None:
            assert 0 < following - time_s <= MAX_CLOSED_STEP_S
            seen.add(following)
        time_s = following

    for day in history.days:
        assert {compute_open_s(day), compute_close_s(day)} <= seen
    assert max(seen) == history.end_s == _at("2013-03-01T21:00:00")


def test_count_steps__unbroken_replay__numbers_them_one_after_another(history: PriceHistory) -> None:
    assert history.count_steps(history.start_s - 1) == 0
    time_s: int | None = history.start_s
    for number in range(1, 1_000):
        assert time_s is not None
        assert history.count_steps(time_s) == number
        time_s = history.compute_next_step_s(time_s)


def test_count_steps__started_again_in_the_night__does_not_fall(history: PriceHistory) -> None:
    """2005-03-01: step 40 at the close, 21:00 UTC; 41 and 42 six and twelve hours later; 43 at the open, 14:30."""
    assert history.count_steps(_at("2005-03-01T21:00:00")) == 40
    assert history.count_steps(_at("2005-03-02T01:00:00")) == 40
    assert history.count_steps(_at("2005-03-02T07:00:00")) == 41
    assert history.count_steps(_at("2005-03-02T13:00:00")) == 42
    assert history.count_steps(_at("2005-03-02T14:30:00")) == 43


def test_steps__step_that_does_not_divide_the_session__still_hits_the_close(bundled: dict[str, MarketBars]) -> None:
    history = build_history(SYMBOLS, bundled, step_s=7000)
    open_s = history.start_s

    steps = [open_s]
    while steps[-1] < compute_close_s(history.days[0]):
        following = history.compute_next_step_s(steps[-1])
        assert following is not None
        steps.append(following)

    assert [step - open_s for step in steps] == [0, 7000, 14_000, 21_000, 23_400]


def test_observe__closed_time__shows_the_last_close(history: PriceHistory) -> None:
    """AAPL closed at 44.50 on 2005-03-01, IBM at 93.30."""
    night = _at("2005-03-02T03:00:00")

    for symbol, price_e8 in (("AAPL", 4_450_000_000), ("IBM", 9_330_000_000)):
        observed = history.observe(symbol, night)
        assert observed is not None
        assert (observed.price_e8, observed.session) == (price_e8, Session.CLOSED)


def test_observe__day_without_a_bar__is_closed_at_the_last_close() -> None:
    def bar(day: int) -> DailyBar:
        price_e8 = day * USD
        return DailyBar(day=date(2005, 3, day), open_e8=price_e8, high_e8=price_e8, low_e8=price_e8, close_e8=price_e8)

    whole = MarketBars(symbol="IBM", bars=tuple(bar(n) for n in (1, 2, 3)), is_synthetic=False, source="test")
    holed = MarketBars(symbol="TSLA", bars=(bar(2),), is_synthetic=False, source="test")
    history = PriceHistory([whole, holed], start=date(2005, 3, 1))

    assert history.observe("TSLA", _at("2005-03-01T15:00:00")) is None
    on_hole = history.observe("TSLA", _at("2005-03-03T15:00:00"))
    assert on_hole is not None
    assert (on_hole.price_e8, on_hole.session) == (2 * USD, Session.CLOSED)


# --- synthetic and settings --------------------------------------------------------------------------------------


def test_synthetic__tsla_without_file__is_labelled_and_never_looks_like_a_split(history: PriceHistory) -> None:
    market = history.markets["TSLA"]

    assert history.synthetic_symbols == {"TSLA"}
    assert "synthetic" in market.source
    assert find_split(market.bars, market.bars[0].day) is None


def test_synthetic__same_seed__same_bars_whatever_the_start(bundled: dict[str, MarketBars]) -> None:
    early = build_history(SYMBOLS, bundled, start=date(2003, 3, 3)).markets["TSLA"].bars
    late = build_history(SYMBOLS, bundled, start=date(2010, 3, 1)).markets["TSLA"].bars

    assert early == late
    assert build_synthetic_bars("TSLA", [date(2005, 3, 1)], "a") != build_synthetic_bars(
        "TSLA", [date(2005, 3, 1)], "b"
    )


def test_settings__supplied_file__is_copied_and_decides_the_start(tmp_path: Path) -> None:
    source = tmp_path / "mine.csv"
    source.write_text(
        "Date,Open,High,Low,Close\n2010-06-29,19.0,25.0,17.54,23.89\n2010-06-30,25.79,30.42,23.30,23.83\n"
    )
    written = write_replay_settings(tmp_path, SYMBOLS, files={"TSLA": source})
    source.unlink()

    history = load_history(tmp_path)

    assert history.days == written.days
    assert read_replay_settings(tmp_path).start == date(2010, 6, 29)
    assert history.synthetic_symbols == frozenset()
    observed = history.observe("TSLA", history.start_s)
    assert observed is not None and observed.price_e8 == 1_900_000_000


def test_settings__file_for_unlisted_market__is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadHistory, match="NVDA"):
        write_replay_settings(tmp_path, SYMBOLS, files={"NVDA": tmp_path / "x.csv"})


def test_settings__start_after_the_data__is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadHistory, match="2013-03-01"):
        write_replay_settings(tmp_path, SYMBOLS, start=date(2014, 1, 2))


def test_calendar__of_the_replayed_days__has_every_open_and_close_and_ends_unknown() -> None:
    """2005-03-01, a Tuesday before daylight saving time: 14:30 to 21:00 UTC. 2005-04-04, a Monday after it: 13:30."""
    history = build_history(("AAPL",), read_bundled_bars())

    boundaries = history.build_calendar()

    assert [(one.start_s, one.session) for one in boundaries[:3]] == [
        (1_109_687_400, Session.REGULAR),
        (1_109_710_800, Session.CLOSED),
        (1_109_773_800, Session.REGULAR),
    ]
    assert Boundary(start_s=1_112_621_400, session=Session.REGULAR) in boundaries
    assert [one.start_s for one in boundaries] == sorted({one.start_s for one in boundaries})
    assert boundaries[-1].session == Session.UNKNOWN
    assert boundaries[-1].start_s > history.end_s + 9 * 365 * 86_400
