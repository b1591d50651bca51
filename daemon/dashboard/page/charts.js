// The four charts of the live page. Each function draws one from plain arrays; none keeps state.

const REGIME_COLOURS = ["#2fae74", "#e2565f", "#e09a2b", "#4f8fdb", "#9b6ee0", "#25aeb5", "#8a5a44"];
const AGENT_COLOURS = ["#2aa198", "#5b8def", "#b072d1", "#e0913a", "#d9627d"];

export const regimeColour = (index) => REGIME_COLOURS[index % REGIME_COLOURS.length];
export const agentColour = (index) => AGENT_COLOURS[index % AGENT_COLOURS.length];

const CONFIG = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: "reset" };

function look(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function layout(extra) {
  const axis = {
    gridcolor: look("--line"), zeroline: false, linecolor: look("--line"), automargin: true,
    tickfont: { size: 11 }, fixedrange: true,
  };
  return {
    margin: { l: 8, r: 8, t: 6, b: 8 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "inherit", size: 12, color: look("--soft") },
    hoverlabel: { bgcolor: look("--card"), bordercolor: look("--line"), font: { color: look("--text") } },
    hovermode: "x unified",
    showlegend: false,
    ...extra,
    xaxis: { ...axis, ...extra.xaxis },
    yaxis: { ...axis, ...extra.yaxis },
    ...(extra.yaxis2 ? { yaxis2: { ...axis, ...extra.yaxis2 } } : {}),
  };
}

function times(t_ms) {
  return t_ms.map((ms) => new Date(ms));
}

function span(range) {
  return { type: "date", range: range.map((ms) => new Date(ms)), tickformat: "%H:%M:%S", nticks: 6 };
}

// Neighbouring samples of one regime become one band.
function bands(t_ms, regimes, range) {
  const found = [];
  for (let i = 0; i < t_ms.length; i += 1) {
    const regime = regimes[i];
    const end = i + 1 < t_ms.length ? t_ms[i + 1] : t_ms[i];
    const last = found[found.length - 1];
    if (last && last.regime === regime && last.end === t_ms[i]) last.end = end;
    else found.push({ regime, start: t_ms[i], end });
  }
  return found
    .filter((band) => band.regime !== null && band.end > range[0])
    .map((band) => ({
      type: "rect", layer: "below", xref: "x", yref: "paper", y0: 0, y1: 1, line: { width: 0 },
      x0: new Date(Math.max(band.start, range[0])), x1: new Date(band.end),
      fillcolor: regimeColour(band.regime), opacity: 0.13,
    }));
}

export function drawPrice(target, { t_ms, mid, regime, fills, range }) {
  const traces = [{
    x: times(t_ms), y: mid, mode: "lines", name: "mid", connectgaps: false,
    line: { color: look("--text"), width: 1.6 }, hovertemplate: "%{y:,.6~g}<extra></extra>",
  }];
  for (const [side, symbol, name] of [["BUY", "triangle-up", "bought"], ["SELL", "triangle-down", "sold"]]) {
    const own = fills.filter((fill) => fill.side === side);
    traces.push({
      x: own.map((fill) => new Date(fill.t_ms)), y: own.map((fill) => fill.price), mode: "markers", name,
      marker: {
        symbol, size: 10, color: look(side === "BUY" ? "--up" : "--down"),
        line: { width: 1.2, color: look("--card") },
      },
      customdata: own.map((fill) => fill.quantity),
      hovertemplate: `${name} %{customdata:.6~g} at %{y:,.6~g}<extra></extra>`,
    });
  }
  window.Plotly.react(target, traces, layout({
    xaxis: { ...span(range), showgrid: false },
    yaxis: { side: "right", tickformat: ",.6~g", nticks: 7 },
    shapes: bands(t_ms, regime, range),
  }), CONFIG);
}

export function drawWeights(target, { t_ms, weights, range }) {
  const x = times(t_ms);
  const traces = Object.entries(weights).map(([agent, shares], index) => ({
    x, y: shares, name: agent, mode: "lines", stackgroup: "all",
    line: { width: 0.6, color: agentColour(index) }, fillcolor: `${agentColour(index)}b0`,
    hovertemplate: "%{y:.0%}<extra>%{fullData.name}</extra>",
  }));
  window.Plotly.react(target, traces, layout({
    xaxis: { ...span(range), showgrid: false, nticks: 4 },
    yaxis: { range: [0, 1], tickformat: ".0%", side: "right", nticks: 4 },
  }), CONFIG);
}

export function drawEquity(target, { t_ms, equity, drawdown, range }) {
  const x = times(t_ms);
  const shown = equity.filter((_, i) => t_ms[i] >= range[0]);
  const low = Math.min(...shown), high = Math.max(...shown);
  const room = Math.max((high - low) * 0.12, Math.abs(high) * 1e-5, 1e-9);
  window.Plotly.react(target, [
    {
      x, y: equity, mode: "lines", name: "equity", line: { color: look("--accent"), width: 1.8 },
      hovertemplate: "%{y:,.2f}<extra></extra>",
    },
    {
      x, y: drawdown.map((share) => -share), mode: "lines", name: "drawdown", yaxis: "y2",
      line: { color: look("--down"), width: 1.2 }, fill: "tozeroy", fillcolor: `${look("--down")}2e`,
      hovertemplate: "%{y:.3%}<extra></extra>",
    },
  ], layout({
    xaxis: { ...span(range), showgrid: false, nticks: 4, anchor: "y2" },
    yaxis: {
      domain: [0.36, 1], side: "right", tickformat: ",.6~g", nticks: 5,
      ...(shown.length ? { range: [low - room, high + room] } : {}),
    },
    yaxis2: { domain: [0, 0.28], side: "right", tickformat: ".2~%", nticks: 3, rangemode: "tozero" },
  }), CONFIG);
}

function duration(ns) {
  for (const [size, unit] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) {
    if (ns >= size) return `${Number((ns / size).toPrecision(ns >= 100 * size ? 3 : 2))} ${unit}`;
  }
  return `${Math.round(ns)} ns`;
}

// ``spread`` lists the largest duration of each bar and how many fell into it, gaps included.
export function drawLatency(target, { spread, quantiles }) {
  const total = spread.reduce((sum, [, count]) => sum + count, 0) || 1;
  const place = (ns) => spread.findIndex(([bound]) => ns <= bound);
  const marks = new Map();
  for (const [name, ns] of quantiles) {
    const where = ns > 0 ? place(ns) : -1;
    if (where >= 0) marks.set(where, [...(marks.get(where) ?? []), name]);
  }
  const step = Math.max(Math.ceil(spread.length / 7), 1);
  const ticks = spread.map((_, i) => i).filter((i) => i % step === step - 1);
  window.Plotly.react(target, [{
    type: "bar", x: spread.map((_, i) => i), y: spread.map(([, count]) => count / total),
    marker: { color: look("--accent"), cornerradius: 3 },
    customdata: spread.map(([bound, count], i) => [duration(i ? spread[i - 1][0] + 1 : 0), duration(bound + 1), count]),
    hovertemplate: "%{customdata[0]} to %{customdata[1]}: %{customdata[2]:,} (%{y:.2%})<extra></extra>",
  }], layout({
    hovermode: "closest", bargap: 0.12,
    xaxis: {
      showgrid: false, tickvals: ticks.map((i) => i + 0.5), tickangle: 0,
      ticktext: ticks.map((i) => duration(spread[i][0] + 1)),
    },
    yaxis: { tickformat: ".0%", side: "right", nticks: 4, rangemode: "tozero" },
    shapes: [...marks.keys()].map((where) => ({
      type: "line", xref: "x", yref: "paper", x0: where, x1: where, y0: 0, y1: 0.93,
      line: { color: look("--warn"), width: 1.4, dash: "dot" },
    })),
    annotations: [...marks].map(([where, names]) => ({
      x: where, y: 1, yref: "paper", yanchor: "top", text: names.join(", "), showarrow: false,
      font: { size: 11, color: look("--warn") }, bgcolor: look("--card"),
    })),
  }), CONFIG);
}

export { duration };
