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
  options("cost-task", view.compared.map((name) => [name, columnName(name)]), view.cost);
  options("matrix-task", view.compared.map((name) => [name, columnName(name)]), view.matrix);
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
  const cells = data.panels.flatMap((panel) => panel.cells.filter((of) => !panel.subsets[of.subset].draws));
  const runs = sum(cells.map((of) => of.n + of.failed));
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
  const whole = averaged.length === average.length; // of fewer tasks the average is a mean alone, and has no verdict
  const compared = whole ? columns : tasks;
  for (const name of ["cost", "matrix"]) if (!compared.includes(state[name])) state[name] = null;
  const bases = panel.baselines[state.baseline]?.[state.subset] || [];
  const own = state.baseline ? [] : panel.own_baselines[state.subset];
  const all = panel.rows.map((row, i) => ({ ...row, i, base: bases[i] ?? null, isBase: bases[i] === i, own: own[i] }));
  const first = all.filter((row) => row.isBase).map((row) => `${row.method}+`); // what adds to a baseline is below it
  const rank = (row) => (row.isBase ? 0 : first.some((start) => row.method.startsWith(start)) ? 1 : 2);
  all.sort((a, b) => rank(a) - rank(b));
  const rows = all.filter((row) => tasks.some((task) => cellOf(panel, row.i, state.subset, task)));
  return {
    panel, tasks, averaged, columns, compared, all, rows, whole, family: family(panel),
    cost: state.cost || compared.at(-1), matrix: state.matrix || compared.at(-1),
  };
}

/** The verdicts of the view's whole table against its baseline, whatever tasks are chosen. */
function family(panel) {
  const found = panel.families[state.subset]?.[state.baseline] || { verdicts: [], not_compared: [] };
  if (found.at) return found;
  found.cautions ||= [];
  found.without ||= [];
  const named = (of) => Object.fromEntries(data.verdict.map((name, i) => [name, of[i]]));
  const cautions = new Map();
  for (const [row, column, text] of found.cautions) {
    const before = cautions.get(`${row} ${column}`);
    cautions.set(`${row} ${column}`, before ? `${before}; ${text}` : text);
  }
  found.at = {
    verdicts: new Map(found.verdicts.map((of) => [`${of[0]} ${of[1]}`, named(of)])),
    notCompared: new Map(found.not_compared.map(([row, column, text]) => [`${row} ${column}`, text])),
    cautions,
  };
  return found;
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

const cell = (row, column) =>
  (column === AVERAGE ? averageOf(row) : cellOf(view.panel, row.i, state.subset, column));

/** The mean over the chosen tasks of the average, of the seeds, or draws, that a row has on all; null without a task. */
function averageOf(row) {
  const { draws } = view.panel.subsets[state.subset];
  const here = averages(row, state.subset);
  if (!here) return null;
  const means = draws ? draws.map((of) => averages(row, of)).filter((of) => of?.length).map(meanOf) : here;
  const mean = means.length ? meanOf(means) : null;
  const squares = sum(means.map((of) => (of - mean) ** 2));
  const std = means.length > 1 ? Math.sqrt(squares / (means.length - 1)) : null;
  return { task: AVERAGE, mean, std, n: means.length, collapsed: 0, failed: 0 };
}

/** A row's means over the chosen tasks of the average, one a seed that it has on all; null where it lacks a task. */
function averages(row, subset) {
  const cells = view.averaged.map((task) => cellOf(view.panel, row.i, subset, task));
  if (cells.length < 2 || !cells.every((of) => of?.runs.length)) return null;
  const ofTasks = cells.map(({ runs }) => new Map(runs.map(([seed, score]) => [seed, score])));
  const varying = ofTasks.filter((_, i) => !cells[i].fixed); // a fixed score is of every seed
  const seeds = varying.length ? [...varying[0].keys()].filter((seed) => varying.every((of) => of.has(seed))) : [0];
  const ofSeed = (seed) => cells.map(({ fixed, runs }, i) => (fixed ? runs[0][1] : ofTasks[i].get(seed)));
  return seeds.map(ofSeed).filter((scores) => !scores.includes(null)).map(meanOf);
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
  const pair_mark = { better: "worse", worse: "better" }[found.pair_mark] ?? found.pair_mark;
  const swapped = { estimate: minus(found.estimate), wins: found.losses, losses: found.wins, pair_mark };
  for (const of of ["", "by_seeds_", "bootstrap_"]) {
    swapped[`${of}low`] = minus(found[`${of}high`]);
    swapped[`${of}high`] = minus(found[`${of}low`]);
  }
  const shares = { improvement: rest(found.improvement), violation: rest(found.violation) };
  return { ...found, ...swapped, ...shares, baseline: found.method, method: found.baseline };
}

/** A row's difference to its baseline on a column, and what is shown of it; undefined where there is none. */
function verdict(row, column) {
  const found = view.compared.includes(column) ? view.family.at.verdicts.get(`${row.i} ${column}`) : undefined;
  return found && { ...comparison(column, row.base, row.i), ...found };
}

const notCompared = (row, column) =>
  (view.compared.includes(column) ? view.family.at.notCompared.get(`${row.i} ${column}`) : undefined);

/** How many runs of a cell are in its mean, and in no comparison. */
function uncounted(row, task) {
  const { panel } = view;
  panel.uncountedAt ||= panel.uncounted.map((list) => new Map(list.map(([at, of, n]) => [`${at} ${of}`, n])));
  return panel.uncountedAt[state.subset]?.get(`${row.i} ${task}`) ?? 0;
}

/** Almost Stochastic Order's bound, at a confidence for all tasks of the report; ✓: it claims. */
function orderBound({ violation, violation_std: std }) {
  if (violation === null || std === null) return "—";
  const bound = Math.min(1, Math.max(0, violation + data.order_z * std));
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
    `Mean ± standard deviation over ${counted()}, ${inUnits()} (n ${counted()}; c collapsed, f failed, u of the n: in no ` +
      `comparison). Below it the difference to ${versus()}, on the ${counted()} that both have (pairs, where not n).`,
    ["method", ...view.tasks.map(taskHead), ...average],
    rows,
    { rowClass: (i) => (view.rows[i].isBase ? "baseline" : "") },
  );
  const compared = view.rows.filter((row) => view.compared.some((column) => verdict(row, column)));
  const lists = [
    ...listed("Not compared (°)", view.family.not_compared), ...listed("Mind (!)", view.family.cautions),
  ];
  if (!compared.length) return [table, note(UNCOMPARED), ...lists];
  return [
    table, legend(), ...lists,
    figure(
      `Differences to ${versus()} by method, for ${view.compared.map(columnName).join(", ")}`,
      `Δ: method − ${versus()}${view.tasks.some(lower) ? " (turned where lower is better)" : ""}, with the 95 % ` +
        `interval for new ${overWhat()} and new dev examples (one interval, not corrected); none where there is one in ` +
        "common, or no spread. Filled where the mark is of the whole table, ▲ or ▼; hollow: ≈, or not shown.",
      (width) => forest(width, compared),
    ),
    ...(view.compared.includes(AVERAGE)
      ? [details("Numbers of the average", differencesTable(view.rows, AVERAGE)), ...withoutEach()] : []),
  ];
}

const UNCOMPARED =
  "Nothing here has a row of the baseline, of the same settings and with seeds (or draws) in common, to be compared with.";

/** What the marks say, and what they don't. */
function legend() {
  const { size, draws } = view.panel.subsets[state.subset];
  const fewer = view.columns.includes(AVERAGE) && !view.whole;
  return el("ul", { class: "notes" }, [
    `▲ better, ▼ worse, for new ${overWhat()} and new dev examples: right for the whole table (its rows, tasks and the ` +
      `average) in 95 %, whatever tasks are chosen. It has ${count(view.family.verdicts.length, "difference")}.`,
    ...(view.tasks.some(inPoints)
      ? [`≈ equivalent, within ±${data.margin} points: right in 95 % for each difference by itself.`] : []),
    ...(size && !draws ? [`Marks don’t speak of another draw of the ${integer(size)} train rows.`] : []),
    ...(fewer ? [`The average is over the chosen tasks alone, ${view.averaged.join(", ")}: a mean, without a verdict.`]
      : []),
  ].map((text) => el("li", {}, text)));
}

/** What is said of cells of the view, [row, column, text], one text an item. */
function listed(title, items) {
  const texts = new Map();
  for (const [row, column, text] of items) {
    if (!view.compared.includes(column)) continue;
    if (!texts.has(text)) texts.set(text, new Map());
    const columns = texts.get(text);
    columns.set(row, [...(columns.get(row) || []), column === AVERAGE ? "the average" : column]);
  }
  const where = (columns) =>
    [...columns].map(([row, names]) => `${view.panel.rows[row].label} on ${names.join(", ")}`).join("; ");
  const lines = [...texts].map(([text, columns]) => el("li", {}, `${where(columns)}: ${text}`));
  return lines.length ? [el("h3", {}, title), el("ul", { class: "notes" }, lines)] : [];
}

/** The average's differences without each of its tasks in turn: whether one task makes the mark. */
function withoutEach() {
  const found = new Map(view.family.without.map(([row, task, ...of]) => [`${row} ${task}`, of]));
  const rows = view.rows.filter((row) => view.averaged.some((task) => found.has(`${row.i} ${task}`)));
  if (!rows.length) return [];
  const text = (of) => (of ? `${signed(of[0], AVERAGE)} ${interval(of[1], of[2], AVERAGE)}` : "—");
  const lines = rows.map((row) =>
    [named(row).label, ...view.averaged.map((task) => text(found.get(`${row.i} ${task}`)))]);
  const caption = "Differences of the average without a task, in points, with 95 % intervals: of rows that it marks";
  const head = ["method", ...view.averaged.map((task) => `without ${task}`)];
  return [details("The average without each task", tabled(caption, head, lines))];
}

function taskHead(name) {
  const task = taskOf(name);
  return [name, el("small", {}, task.metric, ...aside(task).map((text) => `, ${text}`))];
}

function scoreCell(row, column) {
  const of = cell(row, column);
  if (!of) return "";
  const counts = [[of.collapsed, "c"], [of.failed, "f"], [uncounted(row, column), "u"]]
    .filter(([n]) => n).map(([n, letter]) => `, ${n}${letter}`);
  const mean = [of.mean === null ? "" : plusMinus(of), el("small", {}, ` (${of.n}${counts.join("")})`)];
  const found = verdict(row, column);
  if (!found && !notCompared(row, column)) return { content: mean };
  const pairs = found && found.pairs !== of.n ? ` (${count(found.pairs, "pair")})` : "";
  const difference = found ? signed(found.estimate, column) + pairs : "";
  return {
    content: [...mean, el("small", { class: "difference" }, difference, ...marks(row, column, found))],
    class: found?.mark,
  };
}

/** What stands behind a difference: its mark or °, and ! where there is a caution. */
function marks(row, column, found) {
  const why = notCompared(row, column);
  const caution = found && view.family.at.cautions.get(`${row.i} ${column}`);
  return [
    why ? sign("°", `not compared: ${why}`, why) : mark(found?.mark),
    ...(caution ? [sign("!", caution, caution)] : []),
  ];
}

const mark = (of) => sign(MARKS[of || ""].sign, of || "");

/** A sign, and what it says to those who don't see it. */
function sign(shown, words, title = "") {
  return el("span", title ? { class: "mark", title } : { class: "mark" },
    el("span", { "aria-hidden": "true" }, shown), el("span", { class: "sr" }, words && ` ${words}`));
}

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
      `A dot is a ${pooled() ? "draw, × one with a collapsed run" : "run (one seed), × a collapsed run"}, the bar the ` +
        "mean; dashed, that of " +
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
  return tabled(`${task}: scores over ${counted()}, ${inUnit(task)}`, head, lines);
}

const DIFFERENCES = {
  "difference": (of) => signed(of.estimate, of.task),
  "95 % interval": (of) => interval(of.low, of.high, of.task),
  "p (uncorrected)": (of) => probability(of.p),
  "row p": (of) => probability(of.row_p),
  "adjusted p (table)": (of) => probability(of.adjusted_p),
  "verdict": (of) => inWords(of),
  "pairs": (of) => of.pairs,
  "unpaired": (of) => of.missing,
  "failed runs at chance": (of) => withFailures(of),
  "seeds alone": (of) => interval(of.by_seeds_low, of.by_seeds_high, of.task),
  "multi-bootstrap": (of) => interval(of.bootstrap_low, of.bootstrap_high, of.task),
  "permutation p": (of) => probability(of.permutation_p),
  "wins / ties / losses": (of) => `${of.wins} / ${of.ties} / ${of.losses}`,
  "P(improvement)": (of) => fixed(of.improvement, 2),
  "ASO": (of) => orderBound(of),
  "detectable gain": (of) => asShown(of.detectable, of.task),
  [`seeds for ${data.margin} points`]: (of) => seedsFor(of),
};

function inWords({ mark: of, equivalent, p }) {
  if (p === null) return "° not compared";
  const within = equivalent && of !== "equivalent" ? `, by less than ${data.margin} points` : "";
  return `${MARKS[of].name}${within}`;
}

function withFailures({ task, with_failures: of }) {
  if (!of) return null;
  const [estimate, low, high, shown] = of;
  return `${signed(estimate, task)} ${interval(low, high, task)} ${MARKS[shown].name}`;
}

/** The seeds that the margin takes, and as few and as many as the spread of so few pairs leaves open. */
function seedsFor({ task, detectable, seeds_needed: seeds, fewest_seeds: fewest, most_seeds: most }) {
  if (!inPoints(task)) return null;
  if (detectable === null) return "—";
  const text = (n) => (n === null ? "never" : integer(n));
  return fewest === null ? "never" : `${text(seeds)} (${text(fewest)} to ${text(most)})`;
}

/** The differences of a column with all that is known of them, less what no row has. */
function differencesTable(rows, column) {
  const found = rows.map((row) => ({ row, of: verdict(row, column) })).filter(({ of }) => of);
  if (!found.length) return note(UNCOMPARED);
  const names = Object.keys(DIFFERENCES).filter((name) => found.some(({ of }) => DIFFERENCES[name](of) !== null));
  const caption = `${columnName(column)}: differences to the baseline, ${inUnit(column)}${turnedWhy(column)}`;
  const heads = names.map((name) => name.replace(/^seeds/, counted()));
  return tabled(caption, ["method", "baseline", ...heads], found.map(({ row, of }) => {
    const numbers = names.map((name) => DIFFERENCES[name](of) ?? "—");
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
  const cells = view.panel.cells.filter((of) => of.row === row.i && of.task === task && of.mean !== null)
    .filter((of) => !view.panel.subsets[of.subset].draws); // pooled draws are drawn one by one
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
  const numbers = cells.filter(({ of }) => of).map(({ row, task, of }) => {
    const found = verdict(row, task);
    const difference = found ? signed(found.estimate, task) : row.isBase ? "baseline" : "—";
    const shown = [difference, ...marks(row, task, found)];
    return [named(row).label, task, row.settings[key], plusMinus(of), of.n, { content: shown, class: found?.mark },
      probability(found?.adjusted_p)];
  });
  const head = ["method", "task", key, "score", "n", "difference", "adjusted p (table)"];
  const values = [...new Set(series.flat().flatMap((of) => of.x))];
  return [
    figure(`Mean score by ${title}, for ${tasks.join(", ")}`, `Mean over ${counted()}; bars: ± one standard deviation.`,
      (width) => lines(width, tasks, series, { xTitle: title, x: { tickvals: values } })),
    ...flattery(groups, tasks),
    details(`Numbers by ${key}`, tabled(
      `Mean ± standard deviation ${inUnits()}, by ${key}, and the difference to ${versus()}`, head, numbers)),
  ];
}

/** How much better than their mean the best of each group would look if all were equal. */
function flattery(groups, tasks) {
  const texts = groups.flatMap(([name, rows]) => tasks.map((task) => {
    const cells = rows.map((row) => cell(row, task)).filter((of) => !missing(of?.std));
    if (cells.length < 2) return "";
    const better = data.best_of[cells.length - 1] * median(cells.map((of) => of.std / Math.sqrt(of.n)));
    return `${name}: the best of ${cells.length} equal variants would look ${asShown(better, task)} ${unitOf(task)} ` +
      `better than their mean on ${task}.`;
  })).filter(Boolean);
  if (!texts.length) return [];
  const lead = "Choosing on the split that is reported flatters. The marks of the tables count every variant.";
  return [el("p", { class: "lead" }, lead), el("ul", { class: "notes" }, texts.map((text) => el("li", {}, text)))];
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
  const bad = cells.some(({ of }) => of.collapsed || of.failed);
  const spread = figure(
    `Standard deviation over ${counted()} by method, and collapsed and failed runs, for ${view.tasks.join(", ")}`,
    `Standard deviation over ${counted()}; ` + (bad
      ? "last, how many runs of these tasks collapsed (hatched) or failed (black)."
      : "no run of these tasks collapsed or failed."),
    (width) => stabilityPlot(width, bad),
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
  const gainOf = (row) => (row.isBase ? 0 : verdict(row, view.cost)?.estimate ?? null);
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
    figure(`${title} against parameters, seconds and memory`, `${title}.${means} Filled: ▲ or ▼ in the table.`,
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
  const rows = view.rows.filter((row) => !missing(cell(row, view.matrix)?.mean));
  if (rows.length < 2) return `${capital(columnName(view.matrix))} has fewer than two methods with scores.`;
  const title =
    `${lower(view.matrix) ? "Column minus row" : "Row minus column"}, ${inUnit(view.matrix)} ` +
    `(${columnName(view.matrix)}). ▲ better, ▼ worse: right for all pairs here in 95 %` +
    (inPoints(view.matrix) ? `; ≈ within ±${data.margin} points: for each pair by itself` : "");
  const lines = rows.map((row) => [row.label, ...rows.map((base) => {
    const of = comparison(view.matrix, base.i, row.i);
    if (!of) return row === base ? "" : "—";
    return { content: [signed(of.estimate, view.matrix), mark(of.pair_mark)], class: of.pair_mark };
  })]);
  return [
    figure(`Differences of all pairs of methods (${columnName(view.matrix)})`, `${title}; grey: no comparison.`,
      (width) => matrixPlot(width, rows)),
    ...ranks(rows),
    details("Numbers of all pairs", tabled(title, ["method", ...rows.map((row) => row.label)], lines)),
  ];
}

/** The ranks that each row may have, as the payload has them. */
function ranks(rows) {
  const found = new Map((view.panel.ranks[state.subset][view.matrix] || []).map(([row, ...of]) => [row, of]));
  const ranked = rows.filter((row) => found.has(row.i)).map((row) => {
    const [first, last] = found.get(row.i);
    return { row, first, last, mean: cell(row, view.matrix).mean };
  });
  if (ranked.length < 2) return [];
  const { better } = columnOf(view.matrix);
  ranked.sort((a, b) => a.first - b.first || a.last - b.last || better * (b.mean - a.mean));
  const lines = ranked.map(({ row, first, last, mean }) => [row.label, asShown(mean, view.matrix),
    first === last ? first : `${first} to ${last}`, first === 1 ? "✓" : ""]);
  const caption =
    `Ranks by ${columnName(view.matrix)}: in 95 % the true ranks of all rows at once lie within these intervals`;
  return [tabled(caption, ["method", "mean", "rank", "can’t be told from the best"], lines)];
}

function published() {
  const tasks = [...new Set(data.published.flatMap((of) => Object.keys(of.scores)))];
  if (!data.tasks.some((task) => tasks.includes(task.name))) return "There are none of the tasks of this report.";
  const reported = data.published.map((of) =>
    [[of.model, el("small", {}, of.source)], of.protocol, ...tasks.map((task) => reportedScore(of.scores[task]))]);
  const mean = (row, task) => (view.tasks.includes(task) ? cell(row, task)?.mean ?? null : null);
  const measured = view.rows.map((row) =>
    [row.label, "", ...tasks.map((task) => (mean(row, task) === null ? "" : asShown(mean(row, task), task)))]);
  const here = `Measured in this report: ${panelName(view.panel)}, ${subsetName()}; means over ${counted()}`;
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
const meanOf = (numbers) => sum(numbers) / numbers.length;

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.floor(sorted.length / 2)]) / 2;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const count = (n, name) => `${integer(n)} ${name}${n === 1 ? "" : "s"}`;
/** What n is a number of: seeds, or draws of the train rows where they are pooled. */
const counted = () => data.panels[state.panel].subsets[state.subset].counted;
const pooled = () => counted() === "draws";
const overWhat = () => (pooled() ? "draws, seeds" : "seeds");
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
