// Draw candles of mark or of trades with volume, lines for own orders and positions. Display only: numbers may be
// rounded here.

import { CandlestickSeries, CrosshairMode, HistogramSeries, LineStyle, createChart } from "/vendor/lightweight-charts.js";
import { get } from "/page/api.js";
import { activate, byId, el, setText, wireTabs } from "/page/dom.js";
import { color, onTheme } from "/page/theme.js";
import { formatPrice, formatSize, priceDecimals } from "/page/units.js";

const DAY_S = 86_400;
const INTERVALS = [
  ["1m", 60, "1 minute"],
  ["5m", 300, "5 minutes"],
  ["15m", 900, "15 minutes"],
  ["1h", 3_600, "1 hour"],
  ["4h", 14_400, "4 hours"],
  ["1D", DAY_S, "1 day"],
];
const ENOUGH_CANDLES = 24;
const N_CANDLES = 400;

export class Chart {
  constructor() {
    this.chart = createChart(byId("chart"), {
      autoSize: true,
      crosshair: { mode: CrosshairMode.Normal },
      timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 4 },
      rightPriceScale: { scaleMargins: { top: 0.08, bottom: 0.2 } },
    });
    this.candles = this.chart.addSeries(CandlestickSeries, { borderVisible: false, priceLineStyle: LineStyle.Dotted });
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      priceLineVisible: false,
      lastValueVisible: false,
    });
    this.chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.86, bottom: 0 } });
    this.chart.subscribeCrosshairMove((point) => this.showLegend(point));
    this.lines = [];
    this.ownLines = [];
    this.rows = [];
    this.last = null;
    this.kind = "mark";
    this.intervalS = null;
    this.isChosen = false;
    this.turn = 0;
    this.paint();
    onTheme(() => this.paint());
    this.buildChoices();
  }

  paint() {
    this.chart.applyOptions({
      layout: {
        background: { color: color("panel") },
        textColor: color("muted"),
        fontSize: 11,
        fontFamily: 'Inter, "Segoe UI", system-ui, "Liberation Sans", Arial, sans-serif',
      },
      grid: { vertLines: { color: color("grid") }, horzLines: { color: color("grid") } },
      crosshair: {
        vertLine: { color: color("faint"), labelBackgroundColor: color("line-strong") },
        horzLine: { color: color("faint"), labelBackgroundColor: color("line-strong") },
      },
      rightPriceScale: { borderColor: color("line") },
      timeScale: { borderColor: color("line") },
    });
    const [up, down] = [color("buy"), color("sell")];
    this.candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, priceLineColor: color("accent") });
    this.volumeColors = [color("buy-volume"), color("sell-volume")];
    if (this.rows.length) this.volume.setData(this.rows.map((row) => this.toVolume(row)));
    if (this.market) this.showLines(this.ownLines);
  }

  buildChoices() {
    byId("intervals").replaceChildren(
      ...INTERVALS.map(([name, seconds, words]) => el("button", { "data-interval": seconds, type: "button", "aria-label": words }, name)),
    );
    wireTabs(byId("intervals"), (button) => {
      this.isChosen = true;
      this.show(this.market, { intervalS: Number(button.dataset.interval) });
    });
    wireTabs(byId("candle-kinds"), (button) => this.show(this.market, { kind: button.dataset.kind }));
  }

  /** Shows a market; without a chosen interval the finest one that has enough to look at. */
  async show(market, { intervalS = this.intervalS, kind = this.kind } = {}) {
    if (!market) return;
    const turn = ++this.turn;
    this.market = market;
    this.kind = kind;
    const wanted = intervalS && this.isChosen ? [intervalS] : [3_600, 900, DAY_S];
    let found = null;
    for (const seconds of wanted) {
      found = await get(`/v1/markets/${encodeURIComponent(market.symbol)}/candles?kind=${kind}&interval_s=${seconds}&limit=${N_CANDLES}`);
      if (found.candles.length >= ENOUGH_CANDLES) break;
    }
    if (turn !== this.turn) return;
    this.intervalS = found.interval_s;
    activate(byId("intervals"), byId("intervals").querySelector(`[data-interval="${found.interval_s}"]`));
    this.draw(found.candles);
  }

  draw(candles) {
    const { market } = this;
    this.candles.applyOptions({ priceFormat: { type: "price", precision: priceDecimals(market), minMove: 1 / market.ticks_per_usd } });
    this.chart.applyOptions({ timeScale: { timeVisible: this.intervalS < DAY_S } });
    const rows = candles.map((candle) => ({ ...candle, time_s: this.bucket(candle.time_s) }));
    // History and the venue's own first day may share a day: the later one stands.
    this.rows = [...new Map(rows.map((row) => [row.time_s, row])).values()];
    this.candles.setData(this.rows.map((row) => this.toBar(row)));
    this.volume.setData(this.rows.map((row) => this.toVolume(row)));
    this.last = this.rows.at(-1) ?? null;
    const nShown = Math.min(this.rows.length, this.intervalS >= DAY_S ? 120 : 160);
    this.chart.timeScale().setVisibleLogicalRange({ from: this.rows.length - nShown, to: this.rows.length + 4 });
    byId("chart-empty").hidden = this.rows.length > 0;
    setText(byId("chart-empty"), this.kind === "trades" ? "No trade yet" : "No price yet");
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
    return { time: row.time_s, value: row.volume_lots / this.market.lots_per_share, color: this.volumeColors[isUp ? 0 : 1] };
  }

  adoptMark(markTicks, timeS) {
    if (this.kind === "mark") this.adoptPrice(markTicks, timeS, 0);
  }

  adoptTrade(trade) {
    if (this.kind === "trades") this.adoptPrice(trade.price_ticks, Math.floor(trade.time_ms / 1000), trade.size_lots);
    else if (this.last) {
      this.last = { ...this.last, volume_lots: this.last.volume_lots + trade.size_lots };
      this.volume.update(this.toVolume(this.last));
    }
  }

  /** Moves the last candle, or begins the next. */
  adoptPrice(ticks, timeS, volumeLots) {
    if (!this.intervalS || !ticks || !this.market) return;
    const time = this.bucket(timeS);
    const { last } = this;
    if (last && time < last.time_s) return;
    if (last && time === last.time_s) {
      this.last = {
        ...last,
        high_ticks: Math.max(last.high_ticks, ticks),
        low_ticks: Math.min(last.low_ticks, ticks),
        close_ticks: ticks,
        volume_lots: last.volume_lots + volumeLots,
      };
    } else {
      const open = last && this.kind === "mark" ? last.close_ticks : ticks;
      this.last = {
        time_s: time,
        open_ticks: open,
        high_ticks: Math.max(open, ticks),
        low_ticks: Math.min(open, ticks),
        close_ticks: ticks,
        volume_lots: volumeLots,
      };
      byId("chart-empty").hidden = true;
    }
    this.candles.update(this.toBar(this.last));
    this.volume.update(this.toVolume(this.last));
    this.showLegend(null);
  }

  /** Draws [{ticks, title, tone}] as lines; a tone is a colour of theme.css. */
  showLines(lines) {
    this.ownLines = lines;
    for (const line of this.lines) this.candles.removePriceLine(line);
    this.lines = lines.map((line) =>
      this.candles.createPriceLine({
        price: Number(line.ticks) / this.market.ticks_per_usd,
        color: color(line.tone),
        title: line.title,
        lineWidth: 1,
        lineStyle: LineStyle.Dashed,
        axisLabelVisible: true,
      }),
    );
  }

  showLegend(point) {
    if (!this.market || !this.last) {
      setText(byId("chart-legend"), "");
      return;
    }
    const bar = point?.time ? point.seriesData.get(this.candles) : null;
    const scale = this.market.ticks_per_usd;
    const ticks = (name) => (bar ? Math.round(bar[name] * scale) : this.last[`${name}_ticks`]);
    const [open, high, low, close] = ["open", "high", "low", "close"].map((name) => formatPrice(ticks(name), this.market));
    const volume = bar ? "" : `  Vol ${formatSize(this.last.volume_lots, this.market)}`;
    setText(byId("chart-legend"), `O ${open}  H ${high}  L ${low}  C ${close}${volume}`);
  }
}
