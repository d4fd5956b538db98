// The figures of what report.js has chosen (`view`): each plot takes a width in pixels and returns Plotly's traces and
// layout. Plotly reads <b> and the like in names and labels: whatever comes from the payload goes through `plain`.
"use strict";

const INK = "#1b1f23";
const [BLUE, VERMILLION, GREEN, GREY] = ["#0072B2", "#D55E00", "#009E73", "#6b747d"];
const COLORS = [BLUE, VERMILLION, GREEN, "#CC79A7", "#E69F00", "#56B4E9"]; // Okabe and Ito; black is the baseline's
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
const FONT = { family: "system-ui, -apple-system, Segoe UI, Helvetica Neue, Arial, sans-serif", size: 12, color: INK };
const LINES = 8; // more of them in one plot can't be told apart
const LEGEND = 24; // names that a legend may have
const PRINT_WIDTH = 690; // of A4 and letter, less their margins, in CSS pixels

const MARKS = {
  better: { sign: "▲", name: "▲ better", color: BLUE, symbol: "circle" },
  worse: { sign: "▼", name: "▼ worse", color: VERMILLION, symbol: "square" },
  equivalent: { sign: "≈", name: "≈ equivalent", color: GREEN, symbol: "diamond-open" },
  "": { sign: "", name: "not shown", color: GREY, symbol: "circle-open" },
};

function forest(width, compared) {
  const rows = compared.map(named);
  const { layout, axes } = rowPlot(width, rows, view.compared.map(columnName), {
    xTitle: (i) => `Δ (${unitOf(view.compared[i])})`, legend: markNames(rows, view.compared),
  });
  layout.shapes = axes.map((of) => upright(of, 0));
  return { layout, traces: view.compared.flatMap((column, i) => differences(rows, column, axes[i])) };
}

function markNames(rows, columns) {
  const there = new Set(rows.flatMap((row) => columns.map((column) => verdict(row, column)?.mark)));
  return Object.keys(MARKS).filter((mark) => there.has(mark)).map((mark) => MARKS[mark].name);
}

/** Differences with their intervals, a trace a mark: filled where it is of the whole table. */
function differences(rows, column, axes) {
  const all = rows.map((row, y) => ({ row, y, of: verdict(row, column) }));
  return Object.entries(MARKS).map(([mark, { name, color, symbol }]) => {
    const found = all.filter(({ of }) => of?.mark === mark);
    const bars = {
      type: "data", symmetric: false, color, thickness: 1.5, width: 0,
      array: found.map(({ of }) => (missing(of.high) ? 0 : of.high - of.estimate)),
      arrayminus: found.map(({ of }) => (missing(of.low) ? 0 : of.estimate - of.low)),
    };
    const text = ({ row, of }) =>
      `${row.label}, ${columnName(column)}: ${worth(of)}, adjusted p ${probability(of.adjusted_p)}`;
    const dots = found.map((one) => ({ x: one.of.estimate, y: one.y, text: text(one) }));
    return scatter(axes, dots, { name, marker: { symbol, color, size: 9, line: { width: 2, color } }, error_x: bars });
  });
}

const worth = ({ task, estimate, low, high }) => `${signed(estimate, task)} ${interval(low, high, task)}`;

function dots(width, all, task) {
  const wide = width >= 640 && all.some((row) => verdict(row, task));
  const rows = wide ? all.map(named) : all;
  const base = rows.some((row) => row.own) ? "the baseline" : shorten(state.baseline || data.default, 30);
  const { layout, axes } = rowPlot(width, rows, wide ? ["runs", "differences"] : ["runs"], {
    share: wide ? [0.6, 0.4] : [1], untitled: true,
    xTitle: (i) => (i ? `Δ to ${base} (${unitOf(task)})` : `score (${unitOf(task)})`),
    legend: ["run", "collapsed run", "mean", ...(wide ? markNames(rows, [task]) : [])],
  });
  const runs = rows.flatMap((row, y) => cell(row, task).runs.map(([seed, score, collapsed], i) => {
    const text = `${row.label}, ${pooled() ? "draw" : "seed"} ${seed}: ${asShown(score, task)}${collapsed ? ", collapsed" : ""}`;
    return { x: score, y: y + ((i % 5) - 2) * 0.07, collapsed, text }; // a little apart: scores may be the same
  }));
  const means = rows.map((row, y) => {
    const of = cell(row, task);
    return { row, y, x: of.mean, text: `${row.label}: mean ${plusMinus(of)}` };
  });
  const mean = means.find(({ row, x }) => row.isBase && x !== null);
  layout.shapes = [...(mean ? [upright(axes[0], mean.x, "dash")] : []), ...(wide ? [upright(axes[1], 0)] : [])];
  const dotted = { color: BLUE, opacity: 0.55, size: 8 };
  const crossed = { color: VERMILLION, symbol: "x-thin-open", size: 9, line: { width: 2.5 } };
  const barred = { color: INK, symbol: "line-ns-open", size: 15, line: { width: 2.5 } };
  return { layout, traces: [
    scatter(axes[0], runs.filter((of) => !of.collapsed), { name: "run", marker: dotted }),
    scatter(axes[0], runs.filter((of) => of.collapsed), { name: "collapsed run", marker: crossed }),
    scatter(axes[0], means, { name: "mean", marker: barred }),
    ...(wide ? differences(rows, task, axes[1]) : []),
  ] };
}

/** Lines by task: `series` has for each its {row, name, x, y, text}, with a band or bars of `spread`. */
function lines(width, tasks, series, { xTitle, x, yTitle = (task) => `score (${unitOf(task)})` }) {
  const legend = [...new Set(series.flat().map((line) => line.name))];
  const { layout, axes } = multiples(Math.min(width, 60 + 460 * tasks.length), tasks, {
    least: 240, height: 230, gap: 62, left: 54, xTitle: () => xTitle, yTitle: (i) => yTitle(tasks[i]), legend,
  });
  axes.forEach((of, i) => Object.assign(axisOf(layout, of.xaxis), x, x.type === "log" ? logTicks(series[i]) : {}));
  const traces = series.flatMap((of, i) => [
    ...of.filter((line) => line.band).map((line) => band(line, axes[i])),
    ...of.map((line) => lineTrace(line, axes[i])),
  ]);
  return { layout, traces };
}

function lineTrace({ row, name, x, y, text, spread, band }, axes) {
  const { color, symbol, dash } = style(row);
  const bars = spread && !band ? { error_y: { type: "data", array: spread, color, thickness: 1.5, width: 4 } } : {};
  return scatter(axes, x.map((of, i) => ({ x: of, y: y[i], text: text[i] })), {
    mode: "lines+markers", name: plain(shorten(name, 34)), marker: { color, symbol, size: 8 },
    line: { color, dash, width: row.isBase ? 2.5 : 1.75 }, ...bars,
  });
}

function band({ row, x, y, spread }, axes) {
  const there = x.map((of, i) => [{ x: of, y: y[i] + spread[i] }, { x: of, y: y[i] - spread[i] }]);
  const edge = [...there.map(([above]) => above), ...there.map(([, below]) => below).reverse()];
  const fill = { fill: "toself", fillcolor: `${style(row).color}1a`, line: { width: 0 } };
  return { ...scatter(axes, edge, { mode: "lines", ...fill }), hoverinfo: "skip", hovertemplate: null };
}

function logTicks(series) {
  const values = [...new Set(series.flatMap((of) => of.x))].sort((a, b) => a - b);
  const [low, high] = [Math.log10(values[0]), Math.log10(values.at(-1))];
  const room = Math.max(0.1, 0.07 * (high - low));
  return { tickvals: values, ticktext: values.map(integer), range: [low - room, high + room] };
}

function stabilityPlot(width, counted) {
  const { rows, tasks } = view;
  const { layout, axes } = rowPlot(width, rows, [...tasks, ...(counted ? ["all tasks"] : [])], {
    xTitle: (i) => (i < tasks.length ? `sd (${unitOf(tasks[i])})` : "runs"),
    legend: counted ? ["collapsed", "failed"] : [],
  });
  for (const of of axes) Object.assign(axisOf(layout, of.xaxis), { rangemode: "tozero" });
  const spreads = tasks.map((task, i) => {
    const found = rows.map((row, y) => ({ row, y, of: cell(row, task) })).filter(({ of }) => !missing(of?.std));
    const text = ({ row, of }) => `${row.label}, ${task}: sd ${asShown(of.std, task)} (${of.n})`;
    const dots = found.map((one) => ({ x: one.of.std, y: one.y, text: text(one) }));
    const stems = {
      type: "data", symmetric: false, array: dots.map(() => 0), arrayminus: dots.map((of) => of.x),
      color: "#9fb3c1", thickness: 1.5, width: 0,
    };
    return scatter(axes[i], dots, { marker: { color: BLUE, size: 9 }, error_x: stems });
  });
  if (!counted) return { layout, traces: spreads };
  const badOf = (of) => (of ? of.collapsed + of.failed : 0);
  const bad = rows.map((row) => sum(tasks.map((task) => badOf(cell(row, task)))));
  Object.assign(axisOf(layout, axes.at(-1).xaxis), { dtick: Math.ceil(Math.max(...bad) / 4) });
  const counts = [["collapsed", { color: VERMILLION, pattern: { shape: "/" } }], ["failed", { color: INK }]];
  const bars = counts.map(([name, marker]) => {
    const x = rows.map((row) => sum(tasks.map((task) => cell(row, task)?.[name] || 0)));
    const text = rows.map((row, i) => `${row.label}: ${x[i]} ${name}`);
    const bar = { type: "bar", orientation: "h", name, x, y: rows.map((_, y) => y), marker, textposition: "none" };
    return { ...axes.at(-1), ...bar, ...hover(text) };
  });
  return { layout: { ...layout, barmode: "stack", bargap: 0.4 }, traces: [...spreads, ...bars] };
}

function costPlot(width, found) {
  const shown = COSTS.map((_, i) => i).filter((i) => found.some(({ costs }) => costs[i] !== null));
  const { layout, axes } = multiples(width, shown.map((i) => COSTS[i].name), {
    least: 240, height: 250, gap: 66, left: 58,
    xTitle: (i) => COSTS[shown[i]].name, yTitle: () => `difference (${unitOf(view.cost)})`,
    legend: found.length > LEGEND ? [] : found.map(({ row }) => row.label), untitled: true,
  });
  const there = (i) => found.filter(({ costs }) => costs[i] !== null);
  const traces = shown.flatMap((i, place) => there(i).map(({ row, gain, costs }) => {
    const { color, symbol } = style(row);
    const filled = row.isBase || ["better", "worse"].includes(verdict(row, view.cost)?.mark);
    const text = `${row.label}: ${signed(gain, view.cost)}, ${COSTS[i].name} ${COSTS[i].text(costs[i])}`;
    return scatter(axes[place], [{ x: costs[i], y: gain, text }], {
      name: found.length > LEGEND ? undefined : plain(shorten(row.label, 34)),
      marker: { color, symbol: filled ? symbol : `${symbol}-open`, size: 10, line: { width: 2, color } },
    });
  }));
  for (const of of axes) {
    Object.assign(axisOf(layout, of.xaxis), { nticks: 5, rangemode: "tozero" });
    Object.assign(axisOf(layout, of.yaxis), { zeroline: true, zerolinecolor: GREY });
  }
  return { layout, traces };
}

function matrixPlot(width, rows) {
  const { axis, left } = rowAxis(rows, width, "method (row)");
  const bar = width < 560 ? 0 : 90;
  const size = Math.min(50, Math.max(6, (width - left - bar - 16) / rows.length));
  const found = rows.map((row) => rows.map((base) => comparison(view.matrix, base.i, row.i)));
  const most = Math.max(10 ** -columnOf(view.matrix).digits, ...found.flat().map((of) => Math.abs(of?.estimate ?? 0)));
  const change = (of) => signed(of.estimate, view.matrix, inPoints(view.matrix) ? 1 : 2);
  const fits = (text) => size >= 40 && text.length < 6;
  const shown = (of) => (fits(change(of)) ? `${change(of)} ` : "") + MARKS[of.pair_mark].sign;
  const trace = {
    type: "heatmap", z: found.map((line) => line.map((of) => of?.estimate ?? null)), zmin: -most, zmax: most,
    xgap: 1, ygap: 1,
    colorscale: [[0, VERMILLION], [0.5, "#ffffff"], [1, BLUE]], showscale: bar > 0,
    colorbar: {
      title: { text: plain(`difference (${unitOf(view.matrix)})`), side: "right" },
      thickness: 12, outlinewidth: 0, x: 1.01,
    },
    text: found.map((line) => line.map((of) => (of ? shown(of) : ""))), textfont: { size: size < 40 ? 10 : 11 },
    texttemplate: size < 14 ? "" : "%{text}", hovertemplate: "%{customdata}<extra></extra>", hoverongaps: false,
    customdata: found.map((line, y) => line.map((of, x) =>
      (of ? plain(`${rows[y].label} to ${rows[x].label}: ${worth(of)}`) : ""))),
  };
  const side = size * rows.length;
  const below = 50 + Math.min(170, Math.max(...rows.map((row) => textWidth(labelOf(row, width)))));
  const yaxis = { ...axis, showgrid: false };
  const title = { text: "method (column)", standoff: 8 };
  const xaxis = { ...yaxis, range: [-0.5, rows.length - 0.5], tickangle: -90, title };
  const margin = { l: left, r: width - left - side, t: 8, b: below };
  const layout = { ...plotLayout(width), height: side + below + 8, plot_bgcolor: "#e9ecef", margin, xaxis, yaxis };
  return { layout, traces: [trace] };
}

// ---- what the plots share

/** A trace of {x, y, text}. */
function scatter(axes, found, more) {
  const [x, y] = [found.map((of) => of.x), found.map((of) => of.y)];
  const text = hover(found.map((of) => of.text));
  return { ...axes, type: "scatter", mode: "markers", cliponaxis: false, x, y, ...text, ...more };
}

/** Facets side by side with the methods down one axis. */
function rowPlot(width, rows, titles, more) {
  const { axis, left } = rowAxis(rows, width);
  const height = rows.length * (printing ? 18 : 22);
  return multiples(width, titles, { least: 96, height, gap: 24, left, rows: axis, ...more });
}

/** Small multiples, a facet a title, as many side by side as fit; with `rows` those of a line share that axis. */
function multiples(width, titles, { least, height, gap, left, xTitle, yTitle, rows, legend, share, untitled }) {
  const [right, above, below] = [14, untitled ? 6 : 24, 46];
  const w = width - left - right;
  const most = Math.max(1, Math.floor((w + gap) / (least * (printing ? 0.6 : 1) + gap)));
  const down = Math.ceil(titles.length / most);
  const across = Math.ceil(titles.length / down);
  const h = down * height + (down - 1) * (above + below);
  const key = legendHeight(legend, w);
  const shares = share || Array(across).fill(1 / across);
  const room = w - (across - 1) * gap;
  const margin = { l: left, r: right, t: key + above, b: below };
  const layout = { ...plotLayout(width), height: h + key + above + below, margin, annotations: [] };
  const axes = titles.map((title, i) => {
    const [column, line] = [i % across, Math.floor(i / across)];
    const [start, wide] = [sum(shares.slice(0, column)) * room + column * gap, shares[column] * room];
    const top = 1 - (line * (height + above + below)) / h;
    const own = { xaxis: `x${i + 1}`, yaxis: `y${(rows ? line : i) + 1}` };
    const nticks = Math.max(3, Math.min(8, Math.floor(wide / 30)));
    const [x, y] = [[start / w, Math.min(1, (start + wide) / w)], [Math.max(0, top - height / h), top]];
    axisOf(layout, own.xaxis, { ...plainAxis(xTitle(i)), domain: x, anchor: own.yaxis, nticks });
    axisOf(layout, own.yaxis, { ...(rows || plainAxis(yTitle(i))), domain: y, anchor: own.xaxis });
    if (!untitled) layout.annotations.push(facetTitle(title, start / w, top));
    return own;
  });
  return { layout, axes };
}

/** The layout's entry of an axis, x2 or y3; a first one stays. */
function axisOf(layout, name, axis) {
  return (layout[`${name[0]}axis${name.slice(1)}`] ||= axis);
}

function facetTitle(title, x, y) {
  const place = { x, y, xref: "paper", yref: "paper", xanchor: "left", yanchor: "bottom", showarrow: false };
  return { text: `<b>${plain(title)}</b>`, font: { size: 13 }, ...place };
}

function plotLayout(width) {
  return {
    width, font: FONT, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    hovermode: "closest", dragmode: false,
    hoverlabel: { bgcolor: "#fff", bordercolor: GREY, font: FONT, align: "left" },
    legend: {
      orientation: "h", xref: "container", yref: "container", x: 0, y: 1, xanchor: "left", yanchor: "top",
      itemclick: false, itemdoubleclick: false,
    },
  };
}

function plainAxis(title) {
  return {
    title: { text: plain(title), standoff: 6 }, gridcolor: "#e7eaed", zeroline: false,
    showline: true, linecolor: "#8c959f",
    ticks: "outside", ticklen: 4, tickcolor: "#8c959f", fixedrange: true, automargin: false,
  };
}

/** An axis of methods from the top down, and the room that its labels take. */
function rowAxis(rows, width, title = "method") {
  const labels = rows.map((row) => labelOf(row, width));
  const ticks = { tickvals: rows.map((_, i) => i), ticktext: labels.map(plain), ticks: "", ticklabelstandoff: 5 };
  const range = [rows.length - 0.5, -0.5];
  const axis = { ...plainAxis(title), ...ticks, title: { text: title, standoff: 8 }, range, showline: false };
  return { axis, left: Math.ceil(Math.max(30, ...labels.map(textWidth))) + 38 };
}

const labelOf = (row, width) => shorten(row.label, width < 560 ? 18 : 32);

/** Cut the middle out of a text that is too long: the settings at its end tell rows apart. */
function shorten(text, most) {
  const tail = Math.floor(0.45 * most);
  return text.length > most ? `${text.slice(0, most - tail - 1)}…${text.slice(-tail)}` : text;
}

/** A method looks the same in all figures, whatever is chosen; those with the most runs differ the most. */
function style(row) {
  if (row.isBase) return { color: "#000000", symbol: "circle", dash: "solid" };
  const { panel } = view;
  const cellsOf = (i) => panel.cells.filter((of) => of.row === i).length;
  panel.order ||= panel.rows.map((_, i) => [i, cellsOf(i)]).sort((a, b) => b[1] - a[1]).map(([i]) => i);
  const i = panel.order.indexOf(row.i);
  return { color: COLORS[i % COLORS.length], symbol: SYMBOLS[i % SYMBOLS.length], dash: DASHES[i % DASHES.length] };
}

const upright = (axes, x, dash = "solid") => ({
  type: "line", xref: axes.xaxis, yref: `${axes.yaxis} domain`, x0: x, x1: x, y0: 0, y1: 1,
  line: { color: INK, width: 1, dash }, layer: "below",
});
const hover = (texts) => ({ text: texts.map((text) => plain(text ?? "")), hovertemplate: "%{text}<extra></extra>" });
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function legendHeight(names, width) {
  if (!names.length) return 0;
  const widths = names.map((name) => 46 + textWidth(shorten(name, 34)));
  const across = sum(widths) < width ? names.length : Math.max(1, Math.floor(width / Math.max(...widths)));
  return 10 + 20 * Math.ceil(names.length / across);
}

/** The rows whose lines are drawn: the baseline, and the best of the others. */
function fewest(rows) {
  const means = new Map(view.tasks.map((task) => [task, rows.map((row) => turnedMean(row, task)).filter(isFinite)]));
  const beaten = (task, row) => means.get(task).filter((mean) => mean < turnedMean(row, task)).length;
  const share = (row) => Math.max(...view.tasks.map((task) => beaten(task, row) / rows.length));
  const score = (row) => averageOf(row)?.mean ?? share(row) - 1000; // a row that lacks tasks is after others
  return [...rows].sort((a, b) => b.isBase - a.isBase || score(b) - score(a)).slice(0, LINES);
}

const turnedMean = (row, task) => (columnOf(task).better * (cell(row, task)?.mean ?? NaN));

function some(drawn, rows) {
  if (drawn.length === rows.length) return "";
  return ` ${drawn.length} of ${rows.length} methods: the baseline and the best by mean; the table has all.`;
}

const ruler = document.createElement("canvas").getContext("2d");

function textWidth(text) {
  ruler.font = `${FONT.size}px ${FONT.family}`;
  return ruler.measureText(text).width;
}

// ---- figures on the page: drawn one after the other, and anew where the width changes

const figures = new Map(); // of each plot's element what draws it at a width
let turn = 0;
let printing = false;

function figure(label, caption, plot) {
  const described = `${label}. The numbers are in this section’s tables.`;
  const place = el("div", { class: "plot", role: "img", "aria-label": described });
  figures.set(place, plot);
  return el("figure", {}, place, el("figcaption", {}, caption));
}

function forgetFigures() {
  for (const place of figures.keys()) Plotly.purge(place);
  figures.clear();
}

/** Give all figures their heights at once, so that nothing moves, then draw them in turn; at once for print. */
function drawFigures() {
  const mine = ++turn;
  const width = printing ? PRINT_WIDTH : main.clientWidth;
  const waiting = [...figures].map(([place, plot]) => ({ place, ...plot(width) }));
  for (const { place, layout } of waiting) place.style.height = `${layout.height}px`;
  main.setAttribute("aria-busy", "true");
  const next = () => {
    if (mine !== turn) return;
    if (waiting.length) draw(waiting.shift());
    if (!waiting.length) main.setAttribute("aria-busy", "false");
    else if (printing) next();
    else setTimeout(next);
  };
  next();
}

/** Draw a figure; its legend has each name once, and none that has no points. */
function draw({ place, traces, layout }) {
  const named = new Set();
  for (const trace of traces) {
    trace.showlegend = Boolean(trace.name && trace.x.length && !named.has(trace.name));
    if (trace.showlegend) named.add(trace.name);
  }
  const config = { displayModeBar: false, displaylogo: false };
  Plotly.newPlot(place, traces, { ...layout, showlegend: named.size > 0 }, config);
}

function followWidth() {
  let width = main.clientWidth;
  let timer;
  const resized = () => {
    if (printing || main.clientWidth === width) return;
    width = main.clientWidth;
    drawFigures();
  };
  const print = (on) => {
    if (printing === on) return;
    printing = on;
    drawFigures();
  };
  window.addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(resized, 150);
  });
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));
  matchMedia("print").addEventListener("change", (event) => print(event.matches));
}
