// The live page: one socket brings the past once and then the present; everything else is drawing.

import { agentColour, drawEquity, drawLatency, drawPrice, drawWeights, duration, regimeColour } from "/charts.js";

const SAMPLES_MAX = 3600;
const FILLS_MAX = 2000;
const CONFIRM_MS = 6000;
const RETRY_MS = [500, 1000, 2000, 5000];
const WINDOWS = ["300", "900", "3600"];

const at = (id) => document.getElementById(id);
const page = {
  names: null, view: null, history: null, spread: {}, symbol: "", stage: "tick_to_order", window_s: 900,
  shown: {}, retries: 0,
};

// text ---------------------------------------------------------------------------------------------

const plain = (number, decimals) =>
  number === null || number === undefined || !Number.isFinite(number)
    ? "–"
    : number.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
const signed = (number, decimals) =>
  Number.isFinite(number) ? (number > 0 ? "+" : number < 0 ? "−" : "") + plain(Math.abs(number), decimals) : "–";
const percent = (share, decimals = 2) => (Number.isFinite(share) ? `${plain(share * 100, decimals)} %` : "–");
const price = (number) => plain(number, Math.abs(number) >= 1000 ? 2 : Math.abs(number) >= 1 ? 4 : 6);
const words = (name) => name.replaceAll("_", " ");
const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");

function since(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [d, h, m] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${whole % 60} s` : `${whole} s`;
}

function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// Rebuild a list only when what it says has changed: focus and scrolling stay where they are.
function fill(id, key, build) {
  if (page.shown[id] === key) return;
  page.shown[id] = key;
  at(id).replaceChildren(...build());
}

// drawing ------------------------------------------------------------------------------------------

function drawHead() {
  const view = page.view;
  at("facts").textContent =
    `run ${view.run_id} on ${view.venue}, preset ${view.preset}, up ${since(view.elapsed_s)}` +
    (view.remaining_s === null ? "" : `, ${since(view.remaining_s)} left`);
  at("mode").hidden = false;
  at("mode").textContent = view.mode;
  at("mode").dataset.mode = view.mode;
  at("breaker").textContent = view.breaker.replace("_", " ");
  at("breaker").dataset.state = view.breaker;
  at("breaker").title = view.breaker_reason || "the breaker has no reason to stop anything";
  document.title = `${view.breaker === "NORMAL" ? "" : "⚠ "}${plain(view.equity_quote, 2)} · metaensemble`;
}

function drawFigures() {
  const view = page.view;
  const rows = [
    ["Equity", plain(view.equity_quote, 2), ""],
    ["Today", signed(-view.day_loss_frac * 100, 2) + " %", view.day_loss_frac > 0 ? "down" : ""],
    ["Drawdown", percent(view.drawdown_frac), view.drawdown_frac > 0.05 ? "down" : ""],
    ["Fees", plain(view.fees_quote, 2), ""],
    ["Decisions", plain(view.decision_count, 0), ""],
    ["Orders sent / filled", `${plain(view.orders.sent, 0)} / ${plain(view.orders.filled, 0)}`, ""],
    ["Denied / unknown", `${plain(view.orders.denied, 0)} / ${plain(view.orders.unknown, 0)}`, view.orders.unknown ? "warn" : ""],
    ["Events / lost", `${compact(view.event_count)} / ${plain(view.lost_count, 0)}`, view.lost_count ? "down" : ""],
  ];
  fill("figures", JSON.stringify(rows), () =>
    rows.map(([name, value, kind]) => {
      const box = make("div");
      box.append(make("dt", name), make("dd", value, kind ? { class: kind } : {}));
      return box;
    }));
}

const compact = (number) => number.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });

function bar(name, share, colour) {
  const row = make("div", undefined, { class: "bar" });
  const track = make("span", undefined, { class: "track" });
  const inner = make("i");
  inner.style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  inner.style.background = colour;
  track.append(inner);
  row.append(make("span", words(name)), track, make("b", percent(share, 0)));
  return row;
}

function drawBars(id, names, shares, colour) {
  const rows = [...at(id).children];
  if (rows.length !== names.length) {
    at(id).replaceChildren(...names.map((name, i) => bar(name, shares[i] ?? 0, colour(i))));
    return;
  }
  rows.forEach((row, i) => {
    row.querySelector("i").style.width = `${(shares[i] ?? 0) * 100}%`;
    row.querySelector("b").textContent = shares.length ? percent(shares[i], 0) : "–";
  });
}

function drawTables() {
  const { instruments, open_orders: orders } = page.view;
  fill("positions", JSON.stringify(instruments), () =>
    instruments.map((one) => {
      const row = make("tr");
      const kind = (n) => `number ${n > 0 ? "up" : n < 0 ? "down" : "soft"}`;
      row.append(
        make("td", one.symbol), make("td", one.verdict, { class: one.verdict === "OK" ? "up" : "down" }),
        make("td", price(one.bid_quote), { class: "number" }), make("td", price(one.ask_quote), { class: "number" }),
        make("td", signed(one.position_base, 4), { class: kind(one.position_base) }),
        make("td", signed(one.notional_quote, 2), { class: kind(one.notional_quote) }),
        make("td", signed(one.target_frac, 2), { class: kind(one.target_frac) }),
      );
      return row;
    }));
  fill("orders", JSON.stringify(orders), () =>
    orders.length
      ? orders.map((one) => {
          const row = make("tr");
          row.append(
            make("td", one.client_order_id), make("td", one.symbol),
            make("td", one.side, { class: one.side === "BUY" ? "up" : "down" }),
            make("td", words(one.status.toLowerCase())), make("td", price(one.price_quote), { class: "number" }),
            make("td", `${plain(one.filled_base, 3)} of ${plain(one.quantity_base, 3)}`, { class: "number" }),
          );
          return row;
        })
      : [rowOfOne("no order is open", 6)]);
}

function rowOfOne(text, columns) {
  const row = make("tr");
  row.append(make("td", text, { class: "none", colspan: columns }));
  return row;
}

function drawAlerts() {
  const alerts = [...page.view.alerts].reverse();
  at("alert-count").textContent = `${page.view.alert_count} since the start`;
  fill("alerts", JSON.stringify(alerts.map((one) => [one.event_ns, one.code])), () =>
    alerts.length
      ? alerts.map((one) => {
          const item = make("li", undefined, { "data-severity": one.severity });
          const told = Object.entries(one.fields).map(([name, value]) => `${words(name)}: ${value}`).join(", ");
          item.append(
            make("code", one.code), make("b", one.meaning),
            make("time", clock(one.event_ns / 1e6)), make("small", told),
          );
          return item;
        })
      : [make("li", "Nothing has woken anybody.", { class: "quietly" })]);
}

function drawLog() {
  const text = page.view.log_lines.map((line) => line.replace(/\u001b\[[0-9;]*m/g, "")).join("\n");
  if (at("log").textContent !== text) at("log").textContent = text;
}

function drawInstruments() {
  fill("instruments", `${page.names.instruments}|${page.symbol}`, () =>
    page.names.instruments.map((symbol) => {
      const chosen = symbol === page.symbol;
      const tab = make("button", symbol.split(":")[0], {
        type: "button", role: "tab", "aria-selected": chosen, tabindex: chosen ? 0 : -1, title: symbol,
      });
      tab.addEventListener("click", () => choose(symbol, true));
      return tab;
    }));
  fill("regimes", String(page.names.regimes), () =>
    page.names.regimes.map((regime, index) => {
      const item = make("li");
      const dot = make("i");
      dot.style.background = regimeColour(index);
      item.append(dot, words(regime));
      return item;
    }));
}

function drawCharts() {
  if (!window.Plotly) return;
  const { history, symbol, window_s } = page;
  const end = history.t_ms[history.t_ms.length - 1] ?? Date.now();
  const start = Math.max(end - window_s * 1000, Math.min(history.t_ms[0] ?? end, end - 60_000));
  const range = [start, end];
  const from = Math.max(history.t_ms.findIndex((ms) => ms >= start) - 1, 0);
  const cut = (column) => column.slice(from);
  const t_ms = cut(history.t_ms);
  const mid = cut(history.mid[symbol] ?? []);
  drawPrice(at("price"), {
    t_ms, mid, regime: cut(history.regime[symbol] ?? []), range,
    fills: history.fills.filter((one) => one.symbol === symbol && one.t_ms >= start),
  });
  const weights = Object.fromEntries(Object.entries(history.weights).map(([agent, column]) => [agent, cut(column)]));
  drawWeights(at("weights"), { t_ms, weights, range });
  drawEquity(at("equity"), { t_ms, equity: cut(history.equity), drawdown: cut(history.drawdown), range });
  const known = mid.filter((one) => one !== null);
  at("price").setAttribute("aria-label", known.length
    ? `${symbol}: ${price(known[known.length - 1])}, between ${price(Math.min(...known))} and ${price(Math.max(...known))} in the time shown`
    : `${symbol}: no price yet`);
  at("equity").setAttribute("aria-label",
    `Equity ${plain(page.view.equity_quote, 2)}, drawdown ${percent(page.view.drawdown_frac)}`);
}

function drawStage() {
  const stages = Object.keys(page.spread);
  if (!stages.length) return;
  fill("stage", String(stages), () => stages.map((stage) => make("option", words(stage), { value: stage })));
  at("stage").value = page.stage;
  const summary = page.view.latency[page.stage];
  if (!window.Plotly || !summary) return;
  const quantiles = [["p50", summary.p50], ["p99", summary.p99], ["p99.9", summary.p999]];
  drawLatency(at("latency"), { spread: page.spread[page.stage], quantiles });
  const shown = [...quantiles, ["max", summary.max]].map(([name, ns]) => [name, summary.count ? duration(ns) : "–"]);
  at("quantiles").replaceChildren(
    ...[...shown, ["count", plain(summary.count, 0)]].map(([name, value]) => {
      const item = make("span", `${name} `);
      item.append(make("b", value));
      return item;
    }));
  at("latency").setAttribute("aria-label", `${words(page.stage)}: ${shown.map((pair) => pair.join(" ")).join(", ")}`);
}

function draw() {
  if (!page.view) return;
  drawHead();
  drawFigures();
  drawInstruments();
  drawBars("agents", page.names.agents, page.view.weights_N, agentColour);
  drawBars("belief", page.names.regimes, page.view.regime_K, regimeColour);
  at("bundle").textContent = `${page.view.bundle}, ${page.view.model_stage}`;
  drawTables();
  drawAlerts();
  drawLog();
  drawCharts();
  drawStage();
}

// choices ------------------------------------------------------------------------------------------

function choose(symbol, withFocus = false) {
  page.symbol = symbol;
  draw();
  if (withFocus) document.querySelector('#instruments [aria-selected="true"]')?.focus();
}

function chooseWindow(value) {
  page.window_s = Number(value);
  document.querySelector(`#windows input[value="${value}"]`).checked = true;
  draw();
}

function turnTheme() {
  const now = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = now;
  try { localStorage.setItem("theme", now); } catch { /* private windows keep nothing: it holds until reload */ }
  draw();
}

function nextStage() {
  const stages = Object.keys(page.spread);
  if (!stages.length) return;
  page.stage = stages[(stages.indexOf(page.stage) + 1) % stages.length];
  drawStage();
}

at("instruments").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const all = page.names.instruments;
  choose(all[(all.indexOf(page.symbol) + step + all.length) % all.length], true);
});
at("windows").addEventListener("change", (event) => chooseWindow(event.target.value));
at("stage").addEventListener("change", (event) => { page.stage = event.target.value; drawStage(); });
at("theme").addEventListener("click", turnTheme);
at("help").addEventListener("click", () => at("keys").showModal());
at("operate").addEventListener("click", () => at("desk").showModal());

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=radio]), select, textarea, dialog[open]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !page.names) return;
  const now = WINDOWS.indexOf(String(page.window_s));
  if (/^[1-9]$/.test(event.key) && page.names.instruments[event.key - 1]) choose(page.names.instruments[event.key - 1]);
  else if (event.key === "[" && now > 0) chooseWindow(WINDOWS[now - 1]);
  else if (event.key === "]" && now < WINDOWS.length - 1) chooseWindow(WINDOWS[now + 1]);
  else if (event.key === "t") turnTheme();
  else if (event.key === "s") nextStage();
  else if (event.key === "o") at("desk").showModal();
  else if (event.key === "?") at("keys").showModal();
  else return;
  event.preventDefault();
});

// commands -----------------------------------------------------------------------------------------

let disarming = 0;

function disarm() {
  clearTimeout(disarming);
  for (const button of at("commands").children) {
    delete button.dataset.armed;
    if (button.dataset.text) button.innerHTML = button.dataset.text;
  }
}

function arm(button) {
  disarm();
  button.dataset.text = button.innerHTML;
  button.dataset.armed = "yes";
  button.replaceChildren(make("b", `Press again to ${button.dataset.command}`));
  disarming = setTimeout(disarm, CONFIRM_MS);
}

async function command(name) {
  at("answer").textContent = "asking …";
  at("answer").className = "soft";
  try {
    const answer = await fetch("/command", {
      method: "POST",
      headers: { Authorization: `Bearer ${at("token").value.trim()}`, "Content-Type": "application/json" },
      body: JSON.stringify({ command: name, reason: at("reason").value }),
    });
    const said = await answer.json();
    at("answer").className = said.ok ? "up" : "down";
    at("answer").textContent = said.ok ? `Done: the breaker is ${said.breaker.state}.` : `Refused: ${said.error}`;
  } catch {
    at("answer").className = "down";
    at("answer").textContent = "The daemon did not answer.";
  }
}

at("commands").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (!button.dataset.armed) { arm(button); return; }
  disarm();
  command(button.dataset.command);
});
at("desk").addEventListener("close", () => { disarm(); at("token").value = ""; at("answer").textContent = ""; });

// the socket ---------------------------------------------------------------------------------------

function append(news) {
  const history = page.history;
  const add = (column, more, most) => { column.push(...more); if (column.length > most) column.splice(0, column.length - most); };
  for (const name of ["t_ms", "equity", "drawdown"]) add(history[name], news[name], SAMPLES_MAX);
  for (const group of ["mid", "regime", "weights"]) {
    for (const key of Object.keys(history[group])) add(history[group][key], news[group][key], SAMPLES_MAX);
  }
  add(history.fills, news.fills, FILLS_MAX);
}

function take(message) {
  if (message.kind === "opening") {
    page.names = message.names;
    page.history = message.history;
    if (!page.names.instruments.includes(page.symbol)) page.symbol = page.names.instruments[0];
  } else if (page.history) {
    append(message.history);
  }
  page.view = message.view;
  if (message.spread && Object.keys(message.spread).length) page.spread = message.spread;
  if (!document.hidden) draw();
}

function link(state, text) {
  at("link").dataset.state = state;
  at("link").textContent = text;
}

function connect() {
  const socket = new WebSocket(`ws://${location.host}/live`);
  socket.addEventListener("open", () => { page.retries = 0; link("open", "live"); });
  socket.addEventListener("message", (event) => take(JSON.parse(event.data)));
  socket.addEventListener("close", () => {
    link("lost", "no connection");
    setTimeout(connect, RETRY_MS[Math.min(page.retries, RETRY_MS.length - 1)]);
    page.retries += 1;
  });
}

// A chart follows its card when neighbours grow or shrink, not only when the window does.
const following = new ResizeObserver((entries) => {
  for (const { target } of entries) if (target.data && window.Plotly) window.Plotly.Plots.resize(target);
});
for (const chart of document.querySelectorAll(".chart")) following.observe(chart);

const asked = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
const dark = matchMedia("(prefers-color-scheme: dark)");
document.documentElement.dataset.theme = asked ?? (dark.matches ? "dark" : "light");
dark.addEventListener("change", () => {
  document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
  draw();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) draw(); });
connect();
