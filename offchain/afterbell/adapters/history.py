"""Read price history: the bundled file of real bars, a user's CSV, and the settings of a replay.

A CSV has a header with Date, Open, High, Low, Close in any letter case and order, dates YYYY-MM-DD ascending, prices as
plain decimals; other columns (Volume, Adj Close, an index) are ignored, a Ticker column selects the symbol's rows.
Prices become integers exactly. Every error names file and line. Must not: repair anything.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.util
import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from afterbell.keepers.bars import BadHistory, DailyBar, parse_e8
from afterbell.keepers.history import (
    BUNDLED_SOURCE,
    DEFAULT_SEED,
    DEFAULT_STEP_S,
    MarketBars,
    PriceHistory,
    build_history,
)

BUNDLED_SYMBOLS: Final = ("AAPL", "GOOG", "IBM", "MSFT")
_PRICE_COLUMNS: Final = ("open", "high", "low", "close")
_SETTINGS_FILE: Final = "history.json"
_FILES_FOLDER: Final = "history"


def read_bundled_bars(symbols: Iterable[str] = BUNDLED_SYMBOLS) -> dict[str, MarketBars]:
    """Read the real bars of the package bokeh_sampledata, without importing it: that would pull in pandas."""
    spec = importlib.util.find_spec("bokeh_sampledata")
    if spec is None or spec.origin is None:
        raise BadHistory("the package bokeh_sampledata is not installed: run `make install`")
    path = Path(spec.origin).parent / "_data" / "stocks.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    wanted = [symbol for symbol in symbols if symbol in BUNDLED_SYMBOLS]
    return {
        symbol: MarketBars(
            symbol=symbol,
            bars=parse_bars(text, symbol, source="stocks.csv.gz"),
            is_synthetic=False,
            source=BUNDLED_SOURCE,
        )
        for symbol in wanted
    }


def read_bars_file(path: Path, symbol: str) -> MarketBars:
    """Read a user's CSV. Raises: BadHistory naming file and line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadHistory(f"cannot read {path}: {error}") from error
    return MarketBars(
        symbol=symbol,
        bars=parse_bars(text, symbol, source=path.name),
        is_synthetic=False,
        source=f"file {path.name}, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}",
    )


def parse_bars(text: str, symbol: str, *, source: str) -> tuple[DailyBar, ...]:
    """Turn CSV text into bars, ascending. Raises: BadHistory."""
    rows = csv.reader(io.StringIO(text))
    header = [name.strip().lower() for name in next(rows, [])]
    columns: dict[str, int] = {name: header.index(name) for name in ("date", *_PRICE_COLUMNS) if name in header}
    missing = [name for name in ("date", *_PRICE_COLUMNS) if name not in columns]
    if missing:
        raise BadHistory(
            f"{source} line 1: required columns date, open, high, low, close; missing {', '.join(missing)}"
        )
    ticker_column = header.index("ticker") if "ticker" in header else None
    bars: list[DailyBar] = []
    for row in rows:
        if not row or (ticker_column is not None and row[ticker_column].strip() != symbol):
            continue
        where = f"{source} line {rows.line_num}"
        if len(row) != len(header):
            raise BadHistory(f"{where}: required {len(header)} fields, found {len(row)}")
        try:
            bar = _parse_row(row, columns)
        except ValueError as error:
            raise BadHistory(f"{where}: {error}") from error
        except BadHistory as error:
            raise BadHistory(f"{where}: {error}") from error
        if bars and bar.day <= bars[-1].day:
            raise BadHistory(f"{where}: days must ascend, {bar.day} follows {bars[-1].day}")
        bars.append(bar)
    if not bars:
        raise BadHistory(f"{source}: no bars for {symbol}")
    return tuple(bars)


def _parse_row(row: Sequence[str], columns: Mapping[str, int]) -> DailyBar:
    open_e8, high_e8, low_e8, close_e8 = (parse_e8(row[columns[name]]) for name in _PRICE_COLUMNS)
    return DailyBar(
        day=date.fromisoformat(row[columns["date"]].strip()),
        open_e8=open_e8,
        high_e8=high_e8,
        low_e8=low_e8,
        close_e8=close_e8,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """What every process must read alike to see the same prices; kept in the data directory as history.json."""

    symbols: tuple[str, ...]
    start: date
    seed: str = DEFAULT_SEED
    step_s: int = DEFAULT_STEP_S
    files: Mapping[str, str]
    """Symbol to file name inside the data directory's history/ folder."""


def write_replay_settings(
    data_dir: Path,
    symbols: Sequence[str],
    *,
    files: Mapping[str, Path] | None = None,
    start: date | None = None,
    seed: str = DEFAULT_SEED,
    step_s: int = DEFAULT_STEP_S,
) -> PriceHistory:
    """Check and copy the supplied files, decide the start, write history.json and return the history.

    Files are copied so that a later start of the venue reads the same prices even if the original is gone.
    """
    sources = dict(files or {})
    unknown = sorted(set(sources) - set(symbols))
    if unknown:
        raise BadHistory(f"--history names {', '.join(unknown)}; listed markets are {', '.join(symbols)}")
    history = build_history(symbols, _read_real(symbols, sources), start=start, seed=seed, step_s=step_s)
    folder = data_dir / _FILES_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, str] = {}
    for symbol, path in sorted(sources.items()):
        names[symbol] = f"{symbol}.csv"
        shutil.copyfile(path, folder / names[symbol])
    document = {
        "symbols": list(symbols),
        "start": history.days[0].isoformat(),
        "seed": seed,
        "step_s": step_s,
        "files": names,
    }
    temporary = data_dir / f".{_SETTINGS_FILE}.new"
    temporary.write_text(json.dumps(document, indent=2) + "\n")
    temporary.replace(data_dir / _SETTINGS_FILE)
    return history


def read_replay_settings(data_dir: Path) -> ReplaySettings:
    """Read history.json. Raises: BadHistory when it is missing or broken."""
    path = data_dir / _SETTINGS_FILE
    try:
        document = json.loads(path.read_text())
        return ReplaySettings(
            symbols=tuple(document["symbols"]),
            start=date.fromisoformat(document["start"]),
            seed=document["seed"],
            step_s=document["step_s"],
            files=dict(document["files"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadHistory(f"cannot read {path}: {error!r}; `afterbell up` writes it") from error


def has_replay_settings(data_dir: Path) -> bool:
    """Tell whether a replay was set up in this data directory."""
    return (data_dir / _SETTINGS_FILE).exists()


def load_history(data_dir: Path) -> PriceHistory:
    """Read the settings and everything they name: each process's own reading of the history."""
    settings = read_replay_settings(data_dir)
    files = {symbol: data_dir / _FILES_FOLDER / name for symbol, name in settings.files.items()}
    return build_history(
        settings.symbols,
        _read_real(settings.symbols, files),
        start=settings.start,
        seed=settings.seed,
        step_s=settings.step_s,
    )


def _read_real(symbols: Sequence[str], files: Mapping[str, Path]) -> dict[str, MarketBars]:
    real = read_bundled_bars(symbol for symbol in symbols if symbol not in files)
    real.update({symbol: read_bars_file(path, symbol) for symbol, path in files.items()})
    return real
