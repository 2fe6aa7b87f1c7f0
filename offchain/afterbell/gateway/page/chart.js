// Draw candles of mark with volume, lines for own orders and positions. Display only: numbers may be rounded here.

import { CandlestickSeries, CrosshairMode, HistogramSeries, LineStyle, createChart } from "/vendor/lightweight-charts.js";
import { get } from "/page/api.js";
import { activate, byId, el, setText } from "/page/dom.js";
import { formatPrice, formatSize, priceDecimals } from "/page/units.js";

const DAY_S = 86_400;
const INTERVALS = [
  ["10m", 600],
  ["30m", 1_800],
  ["1h", 3_600],
  ["4h", 14_400],
  ["1D", DAY_S],
];
const ENOUGH_CANDLES = 24;
const N_CANDLES = 400;
const UP = "#2fbf8a";
const DOWN = "#f0566b";

export class Chart {
  constructor() {
    this.chart = createChart(byId("chart"), {
      autoSize: true,
      layout: {
        background: { color: "#10131c" },
        textColor: "#7b8498",
        fontSize: 11,
        fontFamily: 'Inter, "Segoe UI", system-ui, "Liberation Sans", Arial, sans-serif',
      },
      grid: { vertLines: { color: "#171b26" }, horzLines: { color: "#171b26" } },
      crosshair: {
        mode: CrosshairMode.Normal,
        vertLine: { color: "#3a4258", labelBackgroundColor: "#2a3042" },
        horzLine: { color: "#3a4258", labelBackgroundColor: "#2a3042" },
      },
      rightPriceScale: { borderColor: "#1d2230", scaleMargins: { top: 0.08, bottom: 0.2 } },
      timeScale: { borderColor: "#1d2230", timeVisible: true, secondsVisible: false, rightOffset: 4 },
    });
    this.candles = this.chart.addSeries(CandlestickSeries, {
      upColor: UP,
      downColor: DOWN,
      wickUpColor: UP,
      wickDownColor: DOWN,
      borderVisible: false,
      priceLineColor: "#93a1ff",
      priceLineStyle: LineStyle.Dotted,
    });
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      priceLineVisible: false,
      lastValueVisible: false,
    });
    this.chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.86, bottom: 0 } });
    this.chart.subscribeCrosshairMove((point) => this.showLegend(point));
    this.lines = [];
    this.last = null;
    this.intervalS = null;
    this.isChosen = false;
    this.turn = 0;
    this.buildIntervals();
  }

  buildIntervals() {
    for (const [name, seconds] of INTERVALS) {
      const button = el("button", { "data-interval": seconds }, name);
      button.addEventListener("click", () => {
        this.isChosen = true;
        this.show(this.market, seconds);
      });
      byId("intervals").append(button);
    }
  }

  /** Shows a market; without a chosen interval the finest one that has enough to look at. */
  async show(market, intervalS = this.intervalS) {
    const turn = ++this.turn;
    this.market = market;
    const wanted = intervalS && this.isChosen ? [intervalS] : [3_600, 600, DAY_S];
    let found = null;
    for (const seconds of wanted) {
      found = await get(`/v1/markets/${market.symbol}/candles?interval_s=${seconds}&limit=${N_CANDLES}`);
      if (found.candles.length >= ENOUGH_CANDLES) break;
    }
    if (turn !== this.turn) return;
    this.intervalS = found.interval_s;
    activate(byId("intervals"), byId("intervals").querySelector(`[data-interval="${found.interval_s}"]`));
    this.draw(found.candles);
  }

  draw(candles) {
    const market = this.market;
    const decimals = priceDecimals(market);
    this.candles.applyOptions({ priceFormat: { type: "price", precision: decimals, minMove: 1 / market.ticks_per_usd } });
    this.chart.applyOptions({ timeScale: { timeVisible: this.intervalS < DAY_S } });
    const rows = candles.map((candle) => ({ ...candle, time_s: this.bucket(candle.time_s) }));
    // History and the venue's own first day may share a day: the later one stands.
    const unique = [...new Map(rows.map((row) => [row.time_s, row])).values()];
    this.candles.setData(unique.map((row) => this.toBar(row)));
    this.volume.setData(unique.map((row) => this.toVolume(row)));
    this.last = unique.at(-1) ?? null;
    const nShown = Math.min(unique.length, this.intervalS >= DAY_S ? 120 : 160);
    this.chart.timeScale().setVisibleLogicalRange({ from: unique.length - nShown, to: unique.length + 4 });
    this.showLegend(null);
  }

  bucket(timeS) {
    return timeS - (timeS % this.intervalS);
  }

  toBar(row) {
    const scale = this.market.ticks_per_usd;
    return {
      time: row.time_s,
      open: row.open_ticks / scale,
      high: row.high_ticks / scale,
      low: row.low_ticks / scale,
      close: row.close_ticks / scale,
    };
  }

  toVolume(row) {
    const isUp = row.close_ticks >= row.open_ticks;
    return {
      time: row.time_s,
      value: row.volume_lots / this.market.lots_per_share,
      color: isUp ? "rgba(47,191,138,.35)" : "rgba(240,86,107,.35)",
    };
  }

  /** Adopts a new mark at a venue time. */
  adoptMark(markTicks, timeS) {
    if (!this.intervalS || !markTicks) return;
    const time = this.bucket(timeS);
    const last = this.last;
    if (last && time < last.time_s) return;
    if (last && time === last.time_s) {
      this.last = {
        ...last,
        high_ticks: Math.max(last.high_ticks, markTicks),
        low_ticks: Math.min(last.low_ticks, markTicks),
        close_ticks: markTicks,
      };
    } else {
      const open = last ? last.close_ticks : markTicks;
      this.last = {
        time_s: time,
        open_ticks: open,
        high_ticks: Math.max(open, markTicks),
        low_ticks: Math.min(open, markTicks),
        close_ticks: markTicks,
        volume_lots: 0,
      };
    }
    this.candles.update(this.toBar(this.last));
    this.volume.update(this.toVolume(this.last));
    this.showLegend(null);
  }

  /** Adds the size of a trade to the last candle. */
  adoptTrade(sizeLots) {
    if (!this.last) return;
    this.last = { ...this.last, volume_lots: this.last.volume_lots + sizeLots };
    this.volume.update(this.toVolume(this.last));
  }

  /** Draws [{ticks, title, color}] as lines. */
  showLines(lines) {
    for (const line of this.lines) this.candles.removePriceLine(line);
    this.lines = lines.map((line) =>
      this.candles.createPriceLine({
        price: Number(line.ticks) / this.market.ticks_per_usd,
        color: line.color,
        title: line.title,
        lineWidth: 1,
        lineStyle: LineStyle.Dashed,
        axisLabelVisible: true,
      }),
    );
  }

  showLegend(point) {
    if (!this.market || !this.last) return;
    const bar = point && point.time ? point.seriesData.get(this.candles) : null;
    const scale = this.market.ticks_per_usd;
    const ticks = (name) => (bar ? Math.round(bar[name] * scale) : this.last[`${name}_ticks`]);
    const [open, high, low, close] = ["open", "high", "low", "close"].map((name) => formatPrice(ticks(name), this.market));
    const volume = bar ? "" : `  Vol ${formatSize(this.last.volume_lots, this.market)}`;
    setText(byId("chart-legend"), `Mark  O ${open}  H ${high}  L ${low}  C ${close}${volume}`);
  }
}
