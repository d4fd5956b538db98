// Draws the page from the JSON in #payload. What comes from there reaches the page as text alone: by textContent, and
// escaped where Plotly draws it. Scores and differences are in points, or in the unit of a task's metric; positive
// differences are better, also where lower scores are.
"use strict";

const data = JSON.parse(document.getElementById("payload").textContent);
const main = document.getElementById("main");
const AVERAGE = "/average"; // the name of a column; no task, which is a folder, can be called so
const POINTS = { unit: "points", digits: 2, better: 1 }; // how scores of the average are shown

const state = {
  panel: 0, subset: 0, tasks: new Set(data.tasks.map((task) => task.name)),
  baseline: data.baseline, // "": each row's default
  cost: null, matrix: null, // the column that these sections are about; null: the last
};
let view; // what `state` selects

const SECTIONS = {
  overview, curves,
  k: () => ablation("pooling.k", "k (layers)"),
  heads: () => ablation("pooling.num_heads", "attention heads"),
  stability, cost, matrix, published, runs,
};

function start() {
  state.subset = fullest(data.panels[0]);
  restore();
  for (const id of ["baseline", "panel", "subset", "tasks", "cost-task", "matrix-task"]) {
    at(id).addEventListener("change", choose);
  }
  window.addEventListener("hashchange", () => { restore(); arrive(); });
  document.addEventListener("click", (event) => {
    if (event.target.closest("nav a, .skip")?.hash === location.hash) arrive(); // its hash does not change once more
  });
  followWidth();
  arrive();
}

// ---- the state: controls, and the hash that links to a view

function choose(event) {
  const { id, name, value, checked } = event.target;
  if (name === "task") state.tasks[checked ? "add" : "delete"](value);
  else if (id === "panel" || id === "subset") state[id] = Number(value);
  else state[id.replace("-task", "")] = value;
  if (id === "panel") state.subset = fullest(data.panels[state.panel]);
  redraw();
  history.replaceState(null, "", hash());
}

/** The subset with the most runs; of those with as many the last, which has the most rows. */
function fullest(panel) {
  const runs = panel.subsets.map((_, i) => sum(panel.cells.filter((of) => of.subset === i).map((of) => of.n)));
  return runs.lastIndexOf(Math.max(...runs));
}

function hash(section) {
  const encoder = panelName(data.panels[state.panel]);
  const parts = new URLSearchParams({ encoder, rows: subsetName(), baseline: state.baseline });
  parts.set("tasks", data.tasks.map((task) => task.name).filter((name) => state.tasks.has(name)).join(","));
  for (const name of ["cost", "matrix"]) if (state[name]) parts.set(name, state[name]);
  if (section) parts.set("at", section);
  return `#${parts}`;
}

/** Take over what the hash names and the report has; a plain anchor leaves the view as it is. */
function restore() {
  const before = hash();
  const parts = new URLSearchParams(location.hash.slice(1));
  const find = (list, name) => Math.max(0, list.indexOf(parts.get(name)));
  if (parts.has("encoder")) state.panel = find(data.panels.map(panelName), "encoder");
  if (parts.has("rows")) state.subset = find(data.panels[state.panel].subsets.map((subset) => subset.label), "rows");
  if (parts.has("tasks")) state.tasks = new Set(parts.get("tasks").split(","));
  for (const name of ["baseline", "cost", "matrix"]) if (parts.has(name)) state[name] = parts.get(name);
  if (!view || hash() !== before) redraw();
}

/** Go to the section that the hash names beside the view. */
function arrive() {
  const section = at(new URLSearchParams(location.hash.slice(1)).get("at"));
  if (!section) return;
  section.scrollIntoView();
  (section.querySelector("[tabindex='-1']") || section).focus({ preventScroll: true });
}

function redraw() {
  const panel = data.panels[state.panel];
  const names = Object.keys(panel.baselines).filter((name) => panel.baselines[name].flat().some((row) => row !== null));
  if (!names.includes(state.baseline)) state.baseline = names.includes(data.baseline) ? data.baseline : names[0];
  view = selected();
  if (!view.columns.includes(state.matrix)) state.matrix = null;
  if (!view.columns.includes(state.cost)) state.cost = null;
  drawControls(names);
  forgetFigures();
  for (const task of data.tasks) fill(at(`task-${task.name}`), () => oneTask(task));
  for (const [id, show] of Object.entries(SECTIONS)) fill(at(id), show);
  for (const link of document.querySelectorAll("nav a, .skip")) {
    link.href = hash(link.dataset.at ||= link.hash.slice(1));
  }
  drawFigures();
}

function fill(section, show) {
  const body = section.querySelector(".body");
  const open = new Set([...body.querySelectorAll("details[open] > summary")].map((of) => of.textContent));
  const canShow = view.tasks.length || ["published", "runs"].includes(section.id);
  const shown = canShow ? show() : "No task with runs is chosen.";
  const none = typeof shown === "string";
  body.replaceChildren(...(none ? [note(shown)] : shown));
  for (const of of body.querySelectorAll("summary")) of.parentElement.open = open.has(of.textContent);
  const link = [...document.querySelectorAll("nav a")].find((of) => (of.dataset.at || of.hash.slice(1)) === section.id);
  link.classList.toggle("none", none);
  if (section.classList.contains("task")) section.hidden = link.parentElement.hidden = none;
}

function drawControls(names) {
  const panel = view.panel;
  const isMethod = (name) => !name || panel.rows.some((row) => row.method === name);
  const text = (name) => name || `default: ${defaults()}`;
  options("baseline", names.map((name) => [name, text(name), !isMethod(name)]), state.baseline, "with its settings");
  options("panel", data.panels.map((of, i) => [i, panelName(of)]), state.panel);
  options("subset", panel.subsets.map((subset, i) => [i, subset.label]), state.subset);
  options("cost-task", view.columns.map((name) => [name, columnName(name)]), view.cost);
  options("matrix-task", view.columns.map((name) => [name, columnName(name)]), view.matrix);
  const there = tasksWithRuns();
  if (!at("tasks").children.length) at("tasks").append(...data.tasks.map(taskBox));
  for (const box of at("tasks").querySelectorAll("input")) {
    box.checked = state.tasks.has(box.value);
    box.disabled = !there.includes(box.value);
  }
  at("summary").textContent = summary();
  at("view").textContent =
    `${panelName(panel)}, ${subsetName()}, compared with ${state.baseline || defaults()} on ` +
    `${view.tasks.join(", ") || "no task"}.`;
}

/** What rows are compared with unless a baseline is chosen. */
function defaults() {
  const parts = view.panel.rows.some((row) => row.method.includes("+"));
  return data.default + (parts ? " (a recipe or an edit: the same pooler without, where it ran)" : "");
}

/** A row as it is called beside differences: with its own baseline, if it has one. */
const named = (row) => (row.own ? { ...row, label: `${row.label} (to ${row.own})` } : row);

/** What the rows of the view are compared with, in a caption's words. */
function versus() {
  const own = view.rows.some((row) => row.own) ? " or the method in brackets" : "";
  return state.baseline || `${data.default}${own}`;
}

function summary() {
  const runs = sum(data.panels.flatMap((panel) => panel.cells.map((of) => of.n + of.failed)));
  const methods = new Set(data.panels.flatMap((panel) => panel.rows.map((row) => row.method)));
  return `${count(runs, "run")} of ${count(methods.size, "method")} on ${count(data.tasks.length, "task")}; ` +
    `dev scores ${units(data.tasks, "in points (× 100)")}. glue_pool ${data.version}`;
}

function taskBox(task) {
  const note = task.average ? [] : [el("small", {}, "outside the average")];
  return el("label", {}, el("input", { type: "checkbox", name: "task", value: task.name }),
    el("span", {}, task.name, " ", ...note));
}

/** Fill a select with [value, text, in the second group]. */
function options(id, list, chosen, group) {
  const [first, second] = [false, true].map((grouped) =>
    list.filter((item) => Boolean(item[2]) === grouped).map(([value, text]) => el("option", { value }, text)));
  at(id).replaceChildren(...first, ...(second.length ? [el("optgroup", { label: group }, ...second)] : []));
  at(id).value = chosen;
}

// ---- the view: cells, comparisons and verdicts

function selected() {
  const panel = data.panels[state.panel];
  const average = panel.average_tasks[state.subset] || [];
  const tasks = tasksWithRuns().filter((task) => state.tasks.has(task));
  const averaged = average.length > 1 ? average.filter((task) => tasks.includes(task)) : [];
  const columns = averaged.length > 1 ? [...tasks, AVERAGE] : tasks;
  const bases = panel.baselines[state.baseline]?.[state.subset] || [];
  const own = state.baseline ? [] : panel.own_baselines[state.subset];
  const all = panel.rows.map((row, i) => ({ ...row, i, base: bases[i] ?? null, isBase: bases[i] === i, own: own[i] }));
  const first = all.filter((row) => row.isBase).map((row) => `${row.method}+`); // what adds to a baseline is below it
  const rank = (row) => (row.isBase ? 0 : first.some((start) => row.method.startsWith(start)) ? 1 : 2);
  all.sort((a, b) => rank(a) - rank(b));
  const rows = all.filter((row) => tasks.some((task) => cellOf(panel, row.i, state.subset, task)));
  return {
    panel, tasks, averaged, columns, all, rows, whole: averaged.length === average.length,
    cost: state.cost || columns.at(-1), matrix: state.matrix || columns.at(-1), verdicts: new Map(),
  };
}

function tasksWithRuns() {
  const cells = data.panels[state.panel].cells.filter((of) => of.subset === state.subset);
  const there = new Set(cells.map((of) => of.task));
  return data.tasks.map((task) => task.name).filter((name) => there.has(name));
}

function cellOf(panel, row, subset, task) {
  panel.at ||= new Map(panel.cells.map((cell) => [`${cell.row} ${cell.subset} ${cell.task}`, cell]));
  return panel.at.get(`${row} ${subset} ${task}`);
}

const cell = (row, task) => cellOf(view.panel, row.i, state.subset, task);

/** The mean over the chosen tasks of the default average; null unless a row has them all. */
function averageOf(row) {
  const means = view.averaged.map((task) => cell(row, task)?.mean ?? null);
  return means.length < 2 || means.includes(null) ? null : sum(means) / means.length;
}

/** What the payload says of two rows, method minus baseline, turned round where it has them the other way. */
function comparison(task, base, method) {
  const { panel } = view;
  panel.pairs ||= new Map(panel.comparisons.map((found) => [found.slice(0, 4).join(" "), found]));
  const named = (found) => found && Object.fromEntries(data.comparison.map((name, i) => [name, found[i]]));
  const direct = panel.pairs.get([state.subset, task, base, method].join(" "));
  return direct ? named(direct) : turned(named(panel.pairs.get([state.subset, task, method, base].join(" "))));
}

function turned(found) {
  if (!found) return undefined;
  const minus = (number) => (number === null ? null : -number || 0);
  const rest = (share) => (share === null ? null : 1 - share);
  const swapped = { estimate: minus(found.estimate), wins: found.losses, losses: found.wins };
  for (const of of ["", "by_seeds_", "bootstrap_"]) {
    swapped[`${of}low`] = minus(found[`${of}high`]);
    swapped[`${of}high`] = minus(found[`${of}low`]);
  }
  const shares = { improvement: rest(found.improvement), violation: rest(found.violation) };
  return { ...found, ...swapped, ...shares, baseline: found.method, method: found.baseline };
}

/** The comparisons of a row by column, with p corrected for the tasks shown; of itself there are none. */
function verdicts(row, base = row.base) {
  const key = `${base} ${row.i}`;
  if (base === null || base === row.i) return {};
  if (!view.verdicts.has(key)) view.verdicts.set(key, judged(row.i, base));
  return view.verdicts.get(key);
}

function judged(row, base) {
  const found = view.tasks.map((task) => comparison(task, base, row)).filter(Boolean);
  const adjusted = holm(found.map((of) => of.p));
  const verdict = (of, p) => ({ ...of, adjusted: p, sign: p !== null && p < data.alpha ? Math.sign(of.estimate) : 0 });
  const verdicts = Object.fromEntries(found.map((of, i) => [of.task, verdict(of, adjusted[i])]));
  const overall = averageDifference(verdicts, base, row);
  return overall ? { ...verdicts, [AVERAGE]: verdict(overall, overall.p) } : verdicts;
}

/** The average's interval is of all tasks of the default average; of fewer there is the mean difference alone. */
function averageDifference(verdicts, base, row) {
  if (view.averaged.length < 2) return undefined;
  if (view.whole) return comparison(AVERAGE, base, row);
  const of = view.averaged.map((task) => verdicts[task]);
  if (!of.every(Boolean)) return undefined;
  return { task: AVERAGE, estimate: sum(of.map((one) => one.estimate)) / of.length, low: null, high: null, p: null };
}

/** Holm's step-down correction (1979); null stays null and counts as a test. */
function holm(p) {
  const order = p.map((_, i) => i).sort((a, b) => (p[a] ?? 1) - (p[b] ?? 1));
  const adjusted = [];
  let highest = 0;
  order.forEach((i, rank) => {
    highest = Math.max(highest, (p.length - rank) * (p[i] ?? 1));
    adjusted[i] = p[i] === null ? null : Math.min(1, highest);
  });
  return adjusted;
}

/** Almost Stochastic Order's bound at the confidence for as many comparisons as tasks are shown; ✓: it claims. */
function orderBound({ violation, violation_std: std }) {
  if (violation === null || std === null) return "—";
  const bound = Math.min(1, Math.max(0, violation + data.normal_quantiles[view.tasks.length - 1] * std));
  return fixed(bound, 2) + (bound < data.claim_below ? " ✓" : "");
}

// ---- sections: each returns nodes, or says why it has none

function overview() {
  const average = view.columns.includes(AVERAGE) ? [["average", el("small", {}, averageOfWhat())]] : [];
  const rows = view.rows.map((row) => [
    row.isBase ? [row.label, el("small", {}, "baseline")] : named(row).label,
    ...view.columns.map((column) => scoreCell(row, column)),
  ]);
  const table = tabled(
    `Mean ± standard deviation over seeds, ${inUnits()} (runs; c collapsed, f failed). ▲ better, ▼ worse than ` +
      `${versus()} for new seeds and new dev examples, ${level()} over the tasks of a row` +
      (average.length ? " (the average: a test of its own)." : "."),
    ["method", ...view.tasks.map(taskHead), ...average],
    rows,
    { rowClass: (i) => (view.rows[i].isBase ? "baseline" : "") },
  );
  const compared = view.rows.filter((row) => Object.keys(verdicts(row)).length);
  if (!compared.length) return [table, note("Nothing here has a row of the baseline, of the same settings and with seeds in common, to be compared with.")];
  return [table, figure(
    `Differences to ${versus()} by method, for ${view.columns.map(columnName).join(", ")}`,
    `Δ: method − ${versus()}${view.tasks.some(lower) ? " (turned where lower is better)" : ""}, with the 95 % ` +
      "interval for new seeds and new dev examples (one interval, not corrected); none where there is one seed in " +
      `common, or no spread. Filled: significant after Holm’s correction; hollow: not.${partOfAverage()}`,
    (width) => forest(width, compared),
  )];
}

function partOfAverage() {
  if (!view.columns.includes(AVERAGE) || view.whole) return "";
  const tasks = view.averaged.join(", ");
  return ` The average is over the chosen tasks alone, ${tasks}: a mean difference, without an interval.`;
}

function taskHead(name) {
  const task = taskOf(name);
  return [name, el("small", {}, task.metric, ...aside(task).map((text) => `, ${text}`))];
}

function scoreCell(row, column) {
  const verdict = verdicts(row)[column];
  if (column === AVERAGE) {
    const mean = averageOf(row);
    return { content: [asShown(mean), mark(mean === null ? null : verdict)], class: tint(verdict) };
  }
  const of = cell(row, column);
  if (!of) return "";
  const bad = [[of.collapsed, "c"], [of.failed, "f"]].filter(([n]) => n).map(([n, letter]) => `, ${n}${letter}`);
  const counts = el("small", {}, ` (${of.n}${bad.join("")})`);
  return { content: [of.mean === null ? "" : plusMinus(of), counts, mark(verdict)], class: tint(verdict) };
}

function mark(verdict) {
  const [sign, word] = { 1: ["▲", " better"], "-1": ["▼", " worse"] }[verdict?.sign] || ["", ""];
  return el("span", { class: "mark" }, el("span", { "aria-hidden": "true" }, sign), el("span", { class: "sr" }, word));
}

const tint = (verdict) => ({ 1: "better", "-1": "worse" })[verdict?.sign] || "";

function oneTask(task) {
  if (!view.tasks.includes(task.name)) return "not chosen";
  const rows = view.rows.filter((row) => cell(row, task.name));
  const split = task.splits[task.dev_split] || {};
  at(`task-${task.name}`).querySelector(".lead").textContent =
    `${capital(task.metric)}${inPoints(task.name) ? " × 100" : ""} on ` +
    `${split.rows ? `the ${integer(split.rows)} rows of ` : ""}` +
    `the ${task.dev_split} split${task.official && split.official === false ? ", which is not the data set’s own" : ""}` +
    `${aside(task).map((text) => `; ${text}`).join("")}.`;
  return [
    figure(
      `${task.name}: score of every run by method, and differences to ${versus()}`,
      "A dot is a run (one seed), × a collapsed run, the bar the mean; dashed, that of " +
        `${state.baseline || data.default}. Beside it, where there is room: the differences of the overview.`,
      (width) => dots(width, rows, task.name),
    ),
    details(`Numbers of ${task.name}`, scoresTable(rows, task.name), differencesTable(rows, task.name)),
  ];
}

function scoresTable(rows, task) {
  const head = ["method", "mean", "sd", "median", "min", "max", "n", "collapsed", "failed"];
  const scores = (of) => [of.mean, of.std, of.median, of.min, of.max].map((number) => asShown(number, task));
  const lines = rows.map((row) => [row.label, ...scores(cell(row, task)),
    ...["n", "collapsed", "failed"].map((name) => cell(row, task)[name])]);
  return tabled(`${task}: scores over seeds, ${inUnit(task)}`, head, lines);
}

const DIFFERENCES = {
  "difference": (of) => signed(of.estimate, of.task),
  "95 % interval": (of) => interval(of.low, of.high, of.task),
  "p": (of) => probability(of.p),
  "adjusted p": (of) => probability(of.adjusted),
  "verdict": (of) => ({ 1: "▲ better", "-1": "▼ worse" })[of.sign] || "not significant",
  "pairs": (of) => of.pairs,
  "unpaired": (of) => of.missing,
  "seeds alone": (of) => interval(of.by_seeds_low, of.by_seeds_high, of.task),
  "multi-bootstrap": (of) => interval(of.bootstrap_low, of.bootstrap_high, of.task),
  "permutation p": (of) => probability(of.permutation_p),
  "wins / ties / losses": (of) => `${of.wins} / ${of.ties} / ${of.losses}`,
  "P(improvement)": (of) => fixed(of.improvement, 2),
  "ASO": (of) => orderBound(of),
  "detectable gain": (of) => asShown(of.detectable, of.task),
};

function differencesTable(rows, task) {
  const compared = rows.filter((row) => verdicts(row)[task]);
  if (!compared.length) return note("Nothing here has a row of the baseline, of the same settings and with seeds in common, to be compared with.");
  const head = ["method", "baseline", ...Object.keys(DIFFERENCES),
    ...(inPoints(task) ? data.gains.map((gain) => `seeds for ${gain} points`) : [])];
  const caption = `${task}: differences to the baseline, ${inUnit(task)}${turnedWhy(task)}`;
  return tabled(caption, head, compared.map((row) => {
    const of = verdicts(row)[task];
    const seeds = inPoints(task) ? of.seeds_needed.map(integer) : [];
    const numbers = [...Object.values(DIFFERENCES).map((text) => text(of)), ...seeds];
    return [row.label, view.panel.rows[row.base].label, ...numbers];
  }));
}

function curves() {
  const all = view.all.flatMap((row) => view.tasks.map((task) => ({ task, chains: chains(row, task) })));
  const tasks = view.tasks.filter((task) => all.some((of) => of.task === task && of.chains.length));
  if (!tasks.length) return "No method of this encoder has runs with two numbers of train rows.";
  const rows = view.all.filter((row) => all.some((of) => of.chains.some((chain) => chain.row === row)));
  const drawn = fewest(rows);
  const series = tasks.map((task) => all.filter((of) => of.task === task).flatMap((of) => of.chains));
  const numbers = series.flat().flatMap(({ row, cells }) => cells.map((of) =>
    [row.label, of.task, integer(of.train_rows), view.panel.subsets[of.subset].label, plusMinus(of), of.n]));
  return [
    figure(
      `Mean score by number of train rows, for ${tasks.join(", ")}`,
      "Mean over seeds; band: ± one standard deviation. Another draw of the rows (subset seed) is a line of its own." +
        some(drawn, rows),
      (width) => lines(width, tasks, series.map((of) => of.filter((chain) => drawn.includes(chain.row)).map(curve)),
        { xTitle: "train rows (log scale)", x: { type: "log" } }),
    ),
    details("Numbers of the curves", tabled(`Mean ± standard deviation ${inUnits()}, by train rows`,
      ["method", "task", "train rows", "subset", "score", "n"], numbers)),
  ];
}

/** A row's cells by number of train rows, a chain a draw of the rows; none where each has but one number. */
function chains(row, task) {
  const seedOf = (of) => view.panel.subsets[of.subset].seed;
  const cells = view.panel.cells.filter((of) => of.row === row.i && of.task === task && of.mean !== null);
  cells.sort((a, b) => a.train_rows - b.train_rows);
  const seeds = [...new Set(cells.map(seedOf))];
  const found = seeds.map((seed) => ({ row, seed, cells: cells.filter((of) => seedOf(of) === seed) }));
  return found.some((chain) => chain.cells.length > 1) ? found : [];
}

const curve = ({ row, seed, cells }) => ({
  row, name: seed ? `${row.label} (subset seed ${seed})` : row.label, band: true,
  x: cells.map((of) => of.train_rows), y: cells.map((of) => of.mean), spread: cells.map((of) => of.std || 0),
  text: cells.map((of) => `${row.label}, ${view.panel.subsets[of.subset].label}: ${plusMinus(of)} (${of.n})`),
});

function ablation(key, title) {
  const groups = [...alike(view.rows.filter((row) => typeof row.settings[key] === "number"), key)];
  const linesOf = (task) => groups.map(([name, rows]) => ablationLine(name, rows, task, key));
  const all = view.tasks.map((task) => linesOf(task).filter((line) => line.x.length > 1));
  const tasks = view.tasks.filter((_, i) => all[i].length);
  const series = all.filter((of) => of.length);
  if (!tasks.length) return `No two methods of this view differ only in ${key}.`;
  const varied = groups.flatMap(([, rows]) => rows);
  const cells = tasks.flatMap((task) => varied.map((row) => ({ row, task, of: cell(row, task) })));
  const numbers = cells.filter(({ of }) => of).map(({ row, task, of }) =>
    [row.label, task, row.settings[key], plusMinus(of), of.n]);
  const values = [...new Set(series.flat().flatMap((of) => of.x))];
  return [
    figure(`Mean score by ${title}, for ${tasks.join(", ")}`, "Mean over seeds; bars: ± one standard deviation.",
      (width) => lines(width, tasks, series, { xTitle: title, x: { tickvals: values } })),
    details(`Numbers by ${key}`,
      tabled(`Mean ± standard deviation ${inUnits()}, by ${key}`, ["method", "task", key, "score", "n"], numbers)),
  ];
}

/** Rows that differ in one setting alone, by what they have in common. */
function alike(rows, key) {
  const groups = new Map();
  for (const row of [...rows].sort((a, b) => a.settings[key] - b.settings[key])) {
    const others = Object.entries(row.settings).filter(([name]) => name !== key);
    const name = [row.method, ...others.map((of) => of.join("="))].join(" ");
    groups.set(name, [...(groups.get(name) || []), row]);
  }
  return groups;
}

function ablationLine(name, rows, task, key) {
  const found = rows.map((row) => ({ row, of: cell(row, task) })).filter(({ of }) => (of?.mean ?? null) !== null);
  return {
    row: rows[0], name,
    x: found.map(({ row }) => row.settings[key]),
    y: found.map(({ of }) => of.mean),
    spread: found.map(({ of }) => of.std || 0),
    text: found.map(({ row, of }) => `${row.label}: ${plusMinus(of)} (${of.n})`),
  };
}

function stability() {
  const all = view.rows.flatMap((row) => view.tasks.map((task) => ({ row, task, of: cell(row, task) })));
  const cells = all.filter(({ of }) => of);
  const numbers = cells.map(({ row, task, of }) =>
    [row.label, task, asShown(of.std, task), of.n, of.collapsed, of.failed,
      of.expected_best.map((best) => asShown(best, task)).join(", ") || "—"]);
  const counted = cells.some(({ of }) => of.collapsed || of.failed);
  const spread = figure(
    `Standard deviation over seeds by method, and collapsed and failed runs, for ${view.tasks.join(", ")}`,
    counted ? "Standard deviation over seeds; last, how many runs of these tasks collapsed (hatched) or failed (black)."
      : "Standard deviation over seeds; no run of these tasks collapsed or failed.",
    (width) => stabilityPlot(width, counted),
  );
  const head = ["method", "task", "sd", "n", "collapsed", "failed", "expected best of 1, 2, …"];
  const table = tabled(`Standard deviation, counts, and expected best of 1, 2, … runs, ${inUnits()}`, head, numbers);
  return [spread, ...expectedBest(cells), details("Numbers of the stability", table)];
}

function expectedBest(cells) {
  const several = cells.filter(({ of }) => of.expected_best.length > 1);
  if (!several.length) return [];
  const rows = view.rows.filter((row) => several.some((of) => of.row === row));
  const drawn = fewest(rows);
  const tasks = view.tasks.filter((task) => several.some((of) => of.task === task));
  const series = tasks.map((task) => several.filter((of) => of.task === task && drawn.includes(of.row)).map(bestLine));
  const step = Math.ceil(Math.max(...several.map(({ of }) => of.n)) / 8);
  return [figure(
    `Expected best score of n runs, for ${tasks.join(", ")}`,
    "Expected dev score if the best of n runs is kept: the mean over all choices of n from the runs there are, drawn " +
      `without replacement (Tang et al. 2020; Dodge et al. 2019 draw with it, which is biased low).${some(drawn, rows)}`,
    (width) => lines(width, tasks, series,
      { xTitle: "n (runs)", x: { dtick: step }, yTitle: (task) => `expected best (${unitOf(task)})` }),
  )];
}

const bestLine = ({ row, task, of: { expected_best: y } }) => ({
  row, name: row.label, x: y.map((_, i) => i + 1), y,
  text: y.map((best, i) => `${row.label}, best of ${i + 1}: ${asShown(best, task)}`),
});

const COSTS = [
  { name: "pooling parameters", of: (cell) => cell.parameters?.pooling ?? null, text: (number) => integer(number) },
  { name: "seconds a run (median)", of: (cell) => cell.seconds, text: (number) => fixed(number, 1) },
  { name: "peak memory (MB, median)", of: (cell) => cell.memory, text: (number) => integer(number) },
];

function cost() {
  const gainOf = (row) => (row.isBase ? 0 : verdicts(row)[view.cost]?.estimate ?? null);
  const found = view.rows
    .map((row) => ({ row: named(row), gain: gainOf(row), costs: COSTS.map(({ of }) => costOf(row, of)) }))
    .filter(({ costs }) => costs.some((number) => number !== null));
  const title = `Difference to ${versus()} (${columnName(view.cost)})${turnedWhy(view.cost)}`;
  const head = ["method", ...COSTS.map(({ name }) => name), "difference"];
  const table = tabled(`${title}, and what the method costs`, head, found.map(({ row, gain, costs }) =>
    [row.label, ...COSTS.map(({ text }, i) => text(costs[i])), row.isBase ? "baseline" : signed(gain, view.cost)]));
  const drawn = found.filter(({ gain }) => gain !== null);
  if (drawn.length < 2) return [note("No two methods have a cost and a gain to draw."), table];
  const means = view.cost === AVERAGE ? " Seconds and memory are means over its tasks." : "";
  return [
    figure(`${title} against parameters, seconds and memory`, `${title}.${means} Filled: significant.`,
      (width) => costPlot(width, drawn)),
    table,
  ];
}

function costOf(row, of) {
  const tasks = view.cost === AVERAGE ? view.averaged : [view.cost];
  const numbers = tasks.map((task) => cell(row, task)).map((found) => (found ? of(found) : null));
  return numbers.includes(null) ? null : sum(numbers) / numbers.length;
}

function matrix() {
  const mean = (row) => (view.matrix === AVERAGE ? averageOf(row) : cell(row, view.matrix)?.mean ?? null);
  const rows = view.rows.filter((row) => mean(row) !== null);
  if (rows.length < 2) return `${capital(columnName(view.matrix))} has fewer than two methods with scores.`;
  const corrected = view.matrix === AVERAGE ? `at ${100 * data.alpha} %` : `${level()} over the tasks shown`;
  const title =
    `${lower(view.matrix) ? "Column minus row" : "Row minus column"}, ${inUnit(view.matrix)} ` +
    `(${columnName(view.matrix)}). ▲ better, ▼ worse: significant ${corrected}`;
  const lines = rows.map((row) => [row.label, ...rows.map((base) => {
    const of = verdicts(row, base.i)[view.matrix];
    return of ? { content: [signed(of.estimate, view.matrix), mark(of)], class: tint(of) } : row === base ? "" : "—";
  })]);
  return [
    figure(`Differences of all pairs of methods (${columnName(view.matrix)})`, `${title}; grey: no comparison.`,
      (width) => matrixPlot(width, rows)),
    details("Numbers of all pairs", tabled(title, ["method", ...rows.map((row) => row.label)], lines)),
  ];
}

function published() {
  const tasks = [...new Set(data.published.flatMap((of) => Object.keys(of.scores)))];
  if (!data.tasks.some((task) => tasks.includes(task.name))) return "There are none of the tasks of this report.";
  const reported = data.published.map((of) =>
    [[of.model, el("small", {}, of.source)], of.protocol, ...tasks.map((task) => reportedScore(of.scores[task]))]);
  const mean = (row, task) => (view.tasks.includes(task) ? cell(row, task)?.mean ?? null : null);
  const measured = view.rows.map((row) =>
    [row.label, "", ...tasks.map((task) => (mean(row, task) === null ? "" : asShown(mean(row, task), task)))]);
  const here = `Measured in this report: ${panelName(view.panel)}, ${subsetName()}; means over seeds`;
  const rows = [["Published, not reproduced here"], ...reported, ...(measured.length ? [[here], ...measured] : [])];
  const caption = "Dev scores in points; where a source gives two metrics both stand";
  return [tabled(caption, ["model", "protocol", ...tasks], rows, { kind: "protocols" })];
}

const reportedScore = (score) => (Number.isInteger(score) ? score.toFixed(1) : String(score ?? ""));

function runs() {
  const values = (of) => of.values.map(([value, n]) => `${value} (${integer(n)})`).join("; ");
  const made = tabled("What runs were made with, and how many of each", ["name", "values (runs)"],
    data.environments.map((of) => [of.name, values(of)]), { kind: "words" });
  const notes = data.notes.map((text) => el("li", {}, text));
  const left = data.left_out.map((of) => [of.path, of.reason, of.counted]);
  return [
    ...(notes.length ? [el("h3", {}, "Mind"), el("ul", { class: "notes" }, notes)] : []),
    made,
    left.length
      ? tabled(`Left out: ${integer(left.length)}`, ["path", "reason", "counted"], left, { kind: "words" })
      : note("Nothing was left out."),
  ];
}

// ---- elements and numbers

const at = (id) => id && document.getElementById(id);

function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.flat());
  return element;
}

/** A table whose first column names the rows. A cell is text, nodes, or {content, class}; a row of one is a heading. */
function tabled(caption, head, rows, { rowClass = () => "", kind = "" } = {}) {
  const filled = (name, attributes, content) =>
    el(name, attributes, [content].flat().map((item) => (item instanceof Node ? item : String(item))));
  const first = (content) => el("th", { scope: "row" }, filled("span", {}, content));
  const other = (item) => filled("td", item?.class ? { class: item.class } : {}, item?.content ?? item);
  const line = ([name, ...cells], i) => (cells.length
    ? el("tr", { class: rowClass(i) }, first(name), cells.map(other))
    : el("tr", { class: "group" }, el("th", { scope: "rowgroup", colspan: head.length }, name)));
  const table = el("table", { class: kind },
    el("caption", {}, el("span", {}, caption)),
    el("thead", {}, el("tr", {}, head.map((name) => filled("th", { scope: "col" }, name)))),
    el("tbody", {}, rows.map(line)));
  return el("div", { class: `scroll ${kind}`, role: "region", tabindex: "0", "aria-label": caption }, table);
}

function details(title, ...children) {
  return el("details", {}, el("summary", {}, title), ...children);
}

const note = (text) => el("p", { class: "empty" }, text);
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const count = (n, name) => `${integer(n)} ${name}${n === 1 ? "" : "s"}`;
const level = () => `at ${100 * data.alpha} % after Holm’s correction`;
const panelName = (panel) => `${panel.encoder}, ${panel.kind}`;
const subsetName = () => data.panels[state.panel].subsets[state.subset].label;
const taskOf = (name) => data.tasks.find((task) => task.name === name);
const columnOf = (name) => taskOf(name) || POINTS;
const unitOf = (name) => columnOf(name).unit;
const inPoints = (name) => unitOf(name) === POINTS.unit;
const lower = (name) => columnOf(name).better < 0;
const inUnit = (name) => (inPoints(name) ? "in points" : `unit: ${unitOf(name)}`);
const inUnits = () => units(view.tasks.map(taskOf));
const turnedWhy = (name) => (lower(name) ? "; reductions, since lower is better" : "");

/** What the scores of some tasks are in. */
function units(tasks, points = "in points") {
  const own = tasks.filter((task) => task.unit !== POINTS.unit).length;
  return own ? (own < tasks.length ? `${points}, or in a task’s own unit` : "in the task’s own unit") : points;
}

/** What there is to say of a task beside its metric. */
function aside(task) {
  return [
    ...(task.unit === POINTS.unit ? [] : [task.unit]),
    ...(task.better < 0 ? ["lower is better"] : []),
    ...(task.average ? [] : ["outside the average"]),
  ];
}

const averageOfWhat = () => `of ${view.averaged.length}${view.whole ? "" : " chosen"}`;
const columnName = (name) => (name === AVERAGE ? `average ${averageOfWhat()}` : name);

const missing = (number) => number === null || number === undefined;
const fixed = (number, digits) => (missing(number) ? "—" : number.toFixed(digits).replace("-", "−"));
const asShown = (number, name) => fixed(number, columnOf(name).digits);
const signed = (number, name, less = 0) =>
  (number > 0 ? "+" : "") + fixed(number, Math.max(0, columnOf(name).digits - less));
const integer = (number) => (missing(number) ? "—" : Math.round(number).toLocaleString("en-US"));
const interval = (low, high, name) => (missing(low) ? "—" : `[${asShown(low, name)}, ${asShown(high, name)}]`);
const plusMinus = (of) => asShown(of.mean, of.task) + (missing(of.std) ? "" : ` ± ${asShown(of.std, of.task)}`);
const probability = (p) => (missing(p) ? "—" : p < 0.001 ? "<0.001" : p.toFixed(3));

start();
