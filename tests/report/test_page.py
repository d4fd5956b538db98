"""The page in a real browser: what it shows, what it runs and asks for, and how it prints."""

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

import tex_tables
from glue_pool.report import page as report_page
from glue_pool.report import report
from glue_pool.report.draws import with_pooled
from glue_pool.report.payload import payload as payload_of
from glue_pool.report.scan import scan
from glue_pool.report.study import Study, study
from glue_pool.report.tables import tables
from glue_pool.report.verdicts import AVERAGE, Table
from run_folders import Drawn, grid

api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install glue-pool[dev]")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on PATH")

Page = Any  # playwright's
Payload = dict[str, Any]
Open = Callable[..., Page]
MARKUP = "<b>x</b><i>&lt;y</i>"  # that Plotly would read
SIGNED = {"better": "▲ better", "worse": "▼ worse", "equivalent": "≈ equivalent", "": ""}
CAUTION = "1 of 3 runs of maxpool collapsed: <i>mind</i>"
HOSTILE = "<script>ran=1</script></script><img src=x onerror=ran=1> <b>\"'&amp;</b>"


def read(root: Path, drawn: Iterator[Drawn]) -> tuple[Study, list[Table]]:
    for run in drawn:
        run.write(root)
    found = study(*scan([root]))
    return found, tables(found)


def made(root: Path, drawn: Iterator[Drawn]) -> Payload:
    found, compared = read(root, drawn)
    return payload_of(found, compared, None, list(found.tasks))


def example() -> Iterator[Drawn]:
    yield from grid(("mrpc", "rte", "wnli"), ("bert", "maxpool", "mean"), 3, ("n100", "full"))
    for k in (1, 2, 4):
        yield from (Drawn(("task=rte", "pooling=max_cls", f"pooling.k={k}"), seed, 0.9 + k / 10) for seed in (1, 2))
    for heads in (1, 8):
        yield from (Drawn(("task=rte", "pooling=mha", f"pooling.num_heads={heads}"), seed, 1.2) for seed in (1, 2))
    yield from (Drawn(("task=rte", "pooling=mean", "encoder.freeze=true"), seed, 0.4) for seed in (1, 2))
    yield Drawn(("task=mrpc", "pooling=mean"), 4, collapsed=True)
    yield Drawn(("task=mrpc", "pooling=mean"), 5, nan=True)
    yield Drawn(("task=rte", "pooling=mean"), 6, error=HOSTILE)
    yield Drawn(("task=wnli", "pooling=mlp_control"), 1)
    yield Drawn(("task=wnli", "pooling=mlp_control"), 2, error="out of memory")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, list[Table]]:
    return read(tmp_path_factory.mktemp("runs"), example())


@pytest.fixture(scope="module")
def payload(found: tuple[Study, list[Table]]) -> Payload:
    return payload_of(*found, None, list(found[0].tasks))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def folder(payload: Payload, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(payload, tmp_path_factory.mktemp("page"))


def written(payload: Payload, folder: Path) -> Path:
    report_page.write(folder, payload)
    return folder


@pytest.fixture(scope="module")
def opened(browser: Any) -> Open:
    """`opened(folder, hash)` is a page whose figures are drawn; `said` and `asked` are its errors and requests."""

    def open_page(folder: Path, hash: str = "", width: int = 1440) -> Page:
        page = browser.new_context(
            offline=True, reduced_motion="reduce", viewport={"width": width, "height": 900}
        ).new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto((folder / "index.html").as_uri() + hash)
        return drawn(page)

    return open_page


@pytest.fixture(scope="module")
def page(opened: Open, folder: Path) -> Page:
    return opened(folder)


@pytest.fixture
def view(page: Page, folder: Path) -> Page:
    """The one page, as it is on opening."""
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto("about:blank")
    page.goto((folder / "index.html").as_uri())
    return drawn(page)


def drawn(page: Page) -> Page:
    page.wait_for_selector("main[aria-busy=false]", timeout=30_000)
    return page


def choose(page: Page, control: str, label: str) -> None:
    page.select_option(f"#{control}", label=label)
    drawn(page)


def rows(page: Page, table: str) -> dict[str, list[str]]:
    """A table's cells as they are read, by the name of their row."""
    script = "t => [...t.tBodies[0].rows].map(r => [...r.cells].map(c => c.textContent.trim()))"
    return {cells[0]: cells[1:] for cells in page.locator(table).first.evaluate(script)}


def heads(page: Page, table: str) -> list[str]:
    texts: list[str] = page.locator(table).first.locator("thead th").all_text_contents()
    return texts[1:]


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?", text.replace("\N{MINUS SIGN}", "-"))]


def panel_of(payload: Payload, kind: str = "fine-tuned") -> Payload:
    found: Payload = next(panel for panel in payload["panels"] if panel["kind"] == kind)
    return found


def cells_of(payload: Payload, subset: str, task: str) -> dict[str, Payload]:
    panel = panel_of(payload)
    place = next(i for i, of in enumerate(panel["subsets"]) if of["label"] == subset)
    return {panel["rows"][c["row"]]["label"]: c for c in panel["cells"] if c["subset"] == place and c["task"] == task}


def comparisons_of(payload: Payload, subset: str) -> list[Payload]:
    panel = panel_of(payload)
    place = next(i for i, of in enumerate(panel["subsets"]) if of["label"] == subset)
    named = [dict(zip(payload["comparison"], found, strict=True)) for found in panel["comparisons"]]
    labels = [row["label"] for row in panel["rows"]]
    return [
        of | {"baseline": labels[of["baseline"]], "method": labels[of["method"]]}
        for of in named
        if of["subset"] == place
    ]


def verdicts_of(payload: Payload, subset: str, baseline: str = "") -> dict[tuple[str, str], Payload]:
    """The verdicts of a table's family, by the label of their row and their column."""
    panel = panel_of(payload)
    place = next(i for i, of in enumerate(panel["subsets"]) if of["label"] == subset)
    named = [dict(zip(payload["verdict"], of, strict=True)) for of in panel["families"][place][baseline]["verdicts"]]
    return {(panel["rows"][of["row"]]["label"], of["task"]): of for of in named}


def differences(page: Page, task: str) -> dict[str, dict[str, str]]:
    """The table of a task's differences, by the name of its row and of its column."""
    table = f"#task-{task} .body details .scroll:nth-of-type(2) table"
    return {name: dict(zip(heads(page, table), cells, strict=True)) for name, cells in rows(page, table).items()}


def p_of(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def row_at(payload: Payload, label: str) -> int:
    return next(i for i, row in enumerate(panel_of(payload)["rows"]) if row["label"] == label)


def test_the_page_loads_without_an_error_or_a_request(page: Page, folder: Path) -> None:
    assert page.said == []
    assert page.asked
    assert all(url.startswith((folder.as_uri(), "data:,")) for url in page.asked)
    assert {path.name for path in folder.iterdir()} == {
        "index.html",
        "report.css",
        "report.js",
        "plots.js",
        "plotly.min.js",
    }


def test_every_figure_is_drawn_and_every_axis_says_what_it_is(view: Page) -> None:
    plots = view.locator(".plot")
    assert plots.count() >= 9
    assert view.locator(".plot .main-svg").count() > plots.count()
    titles = view.evaluate(
        """() => [...document.querySelectorAll('.plot')].flatMap(plot => Object.keys(plot._fullLayout)
           .filter(key => /^[xy]axis[0-9]*$/.test(key)).map(key => plot._fullLayout[key].title.text))"""
    )
    assert all(titles)
    assert len(titles) > 30
    assert all(view.locator(".plot").nth(i).get_attribute("aria-label") for i in range(plots.count()))


def test_means_are_the_payloads_in_every_subset(view: Page, payload: Payload) -> None:
    for subset in ("100 rows", "all rows"):
        choose(view, "subset", subset)
        shown = rows(view, "#overview table")
        columns = heads(view, "#overview table")
        for label, cell in cells_of(payload, subset, "mrpc").items():
            name = f"{label}baseline" if label == "bert" else label
            text = shown[name][next(i for i, head in enumerate(columns) if head.startswith("mrpc"))]
            assert numbers(text)[:3] == [round(cell["mean"], 2), round(cell["std"], 2), cell["n"]]
    assert "1c" in shown["mean"][0]
    assert "1f" in shown["mean"][0]


def test_numbers_of_a_task_are_the_payloads(view: Page, payload: Payload) -> None:
    choose(view, "subset", "all rows")
    shown = rows(view, "#task-mrpc table")
    for label, cell in cells_of(payload, "all rows", "mrpc").items():
        keys = ("mean", "std", "median", "min", "max", "n", "collapsed", "failed")
        assert [number for text in shown[label] for number in numbers(text)] == [round(cell[key], 2) for key in keys]


def test_a_comparison_the_other_way_is_turned_round(view: Page, payload: Payload) -> None:
    choose(view, "subset", "all rows")
    choose(view, "baseline", "mean")
    shown = differences(view, "rte")
    found = [of for of in comparisons_of(payload, "all rows") if of["task"] == "rte" and of["method"] == "mean"]
    assert any(of["baseline"] == "bert" for of in found)
    for of in found:
        cells = shown[of["baseline"]]
        assert numbers(cells["difference"]) == [round(-of["estimate"], 2)]
        if of["low"] is not None:
            assert numbers(cells["95 % interval"]) == pytest.approx([-of["high"], -of["low"]], abs=0.0051)
            assert numbers(cells["seeds alone"]) == pytest.approx(
                [-of["by_seeds_high"], -of["by_seeds_low"]], abs=0.0051
            )
        assert cells["wins / ties / losses"] == f"{of['losses']} / {of['ties']} / {of['wins']}"
        assert numbers(cells["P(improvement)"]) == pytest.approx([1 - of["improvement"]], abs=0.0051)
        if of["violation"] is not None:
            bound = np.clip(1 - of["violation"] + payload["order_z"] * of["violation_std"], 0, 1)
            assert numbers(cells["ASO"]) == pytest.approx([bound], abs=0.0051)


def test_a_difference_stands_below_the_mean_with_its_pairs_where_it_has_fewer(view: Page, payload: Payload) -> None:
    choose(view, "subset", "all rows")
    shown = rows(view, "#overview table")
    cells = cells_of(payload, "all rows", "mrpc")
    of = {
        of["method"]: of
        for of in comparisons_of(payload, "all rows")
        if (of["task"], of["baseline"]) == ("mrpc", "bert")
    }
    assert f"+{of['maxpool']['estimate']:.2f}" in shown["maxpool"][0]
    assert "pairs" not in shown["maxpool"][0]
    assert (cells["mean"]["n"], of["mean"]["pairs"]) == (4, 3)
    assert "(4, 1c, 1f)" in shown["mean"][0]
    assert "(3 pairs)" in shown["mean"][0]
    assert numbers(shown["bertbaseline"][0]) == pytest.approx(
        [cells["bert"]["mean"], cells["bert"]["std"], 3], abs=0.0051
    )


def test_what_is_not_compared_says_why_at_its_cell_and_in_a_list(view: Page, payload: Payload) -> None:
    choose(view, "subset", "all rows")
    place = next(i for i, of in enumerate(panel_of(payload)["subsets"]) if of["label"] == "all rows")
    assert [row_at(payload, "mlp_control"), "wnli", "only one seed in common: no spread to judge by"] in (
        panel_of(payload)["families"][place][""]["not_compared"]
    )
    cell = view.locator("#overview tbody tr", has=view.locator("th", has_text="mlp_control")).locator(".mark")
    assert cell.get_attribute("title") == "only one seed in common: no spread to judge by"
    assert cell.text_content() == "° not compared: only one seed in common: no spread to judge by"
    assert view.locator("#overview h3").text_content() == "Not compared (°)"
    assert (
        "mlp_control on wnli: only one seed in common: no spread to judge by"
        in view.locator("#overview .notes").all_text_contents()[-1]
    )
    assert differences(view, "wnli")["mlp_control"]["verdict"] == "° not compared"
    assert "The average without each task" not in view.locator("#overview").text_content()
    view.locator("#tasks input[value=wnli]").uncheck()
    assert drawn(view).locator("#overview h3").count() == 0


def test_failed_runs_count_with_the_score_of_a_constant_prediction_beside(view: Page, payload: Payload) -> None:
    choose(view, "subset", "all rows")
    shown = differences(view, "wnli")
    estimate, low, high, mark = verdicts_of(payload, "all rows")["mlp_control", "wnli"]["with_failures"]
    assert mark == ""
    assert numbers(shown["mlp_control"]["failed runs at chance"]) == pytest.approx([estimate, low, high], abs=0.0051)
    assert shown["maxpool"]["failed runs at chance"] == "—"
    assert "failed runs at chance" not in differences(view, "mrpc")["maxpool"]


def test_the_seeds_that_the_margin_takes_have_an_interval(view: Page, payload: Payload) -> None:
    choose(view, "subset", "all rows")
    name = f"seeds for {payload['margin']} points"
    texts = set()
    for of in comparisons_of(payload, "all rows"):
        if of["baseline"] != "bert" or of["task"] not in ("mrpc", "rte"):
            continue
        text = differences(view, of["task"])[of["method"]][name]
        few, many = of["fewest_seeds"], of["most_seeds"]
        there = [of["seeds_needed"], few, many]
        assert numbers(text.replace(",", "")) == [round(n) for n in there if n is not None and few is not None]
        assert ("never" in text) == (None in there)
        texts.add(text)
    assert any(re.fullmatch(r"[\d,]+ \([\d,]+ to ([\d,]+|never)\)", text) for text in texts)


def test_verdicts_say_what_they_do_not_speak_of(view: Page) -> None:
    choose(view, "subset", "100 rows")
    said = view.locator("#overview .notes").first.text_content()
    assert "right for the whole table (its rows, tasks and the average) in 95 %" in said
    assert "≈ equivalent, within ±1.25 points: right in 95 % for each difference by itself" in said
    assert "another draw of the 100 train rows" in said
    choose(view, "subset", "all rows")
    assert "another draw" not in view.locator("#overview .notes").first.text_content()


@pytest.fixture(scope="module")
def edited(opened: Open, payload: Payload, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a payload with what the example has not: maxpool is equivalent on rte, and worse elsewhere."""
    changed = copy.deepcopy(payload)
    maxpool, mark = row_at(changed, "maxpool"), payload["verdict"].index("mark")
    panel = panel_of(changed)
    for of_subset in panel["uncounted"]:
        of_subset.append([maxpool, "rte", 2])
    for of_subset in panel["families"]:
        for of in of_subset[""]["verdicts"]:
            of[mark] = "equivalent" if of[:2] == [maxpool, "rte"] else "worse"
        of_subset[""] |= {
            "cautions": [[maxpool, "mrpc", CAUTION], [maxpool, "mrpc", "twice"], [maxpool, AVERAGE, CAUTION]],
            "without": [[maxpool, "mrpc", 3.25, -1.5, 8.0], [maxpool, "rte", -0.5, None, None]],
        }
    return opened(written(changed, tmp_path_factory.mktemp("edited")))


def test_runs_in_no_comparison_are_counted_beside_the_mean(edited: Page) -> None:
    assert "(3, 2u)" in rows(edited, "#overview table")["maxpool"][1]


def test_equivalence_is_a_mark_of_its_own_in_tables_and_figures(edited: Page) -> None:
    assert rows(edited, "#overview table")["maxpool"][1].endswith("≈ equivalent")
    assert differences(edited, "rte")["maxpool"]["verdict"].startswith("≈ equivalent")
    assert edited.locator("#overview .legendtext").all_text_contents() == ["▼ worse", "≈ equivalent"]
    drawn = "document.querySelector('#overview .plot').data.filter(of => of.showlegend).map(of => of.marker.symbol)"
    assert edited.evaluate(drawn) == ["square", "diamond-open"]
    assert "≈ equivalent" in edited.locator("#task-rte .legendtext").all_text_contents()


def test_cautions_and_the_average_without_each_task_are_shown_where_there_are_any(edited: Page) -> None:
    cell = edited.locator("#overview tbody tr", has=edited.locator("th", has_text="maxpool")).locator("td").first
    assert cell.text_content().endswith(f"! {CAUTION}; twice")
    assert cell.locator(".mark").last.get_attribute("title") == f"{CAUTION}; twice"
    listed = edited.locator("#overview .notes").last.locator("li").all_text_contents()
    assert listed == [f"maxpool on mrpc, the average: {CAUTION}", "maxpool on mrpc: twice"]
    details = edited.locator("#overview details", has_text="The average without each task")
    minus = "\N{MINUS SIGN}"
    assert rows(details, "table") == {"maxpool": [f"+3.25 [{minus}1.50, 8.00]", f"{minus}0.50 —"]}
    assert heads(details, "table") == ["without mrpc", "without rte"]
    edited.locator("#tasks input[value=mrpc]").uncheck()
    assert drawn(edited).locator("#overview h3", has_text="Mind").count() == 0
    edited.locator("#tasks input[value=mrpc]").check()
    assert drawn(edited).said == []


def test_the_average_leaves_wnli_out_and_its_verdict_is_of_all_its_tasks(view: Page, payload: Payload) -> None:
    choose(view, "subset", "100 rows")
    assert heads(view, "#overview table")[-1] == "averageof 2"
    means = [cells_of(payload, "100 rows", task)["mean"]["mean"] for task in ("mrpc", "rte")]
    shown = numbers(rows(view, "#overview table")["mean"][-1])
    assert shown[0] == pytest.approx(np.mean(means), abs=0.0051)
    assert "/average" not in view.locator("main").text_content()
    of = next(
        of for of in comparisons_of(payload, "100 rows")
        if (of["task"], of["baseline"], of["method"]) == (AVERAGE, "bert", "mean")
    )  # fmt: skip
    assert shown[3] == pytest.approx(of["estimate"], abs=0.0051)
    cells = rows(view, "#overview details table")["mean"]
    assert numbers(cells[2]) == pytest.approx([of["low"], of["high"]], abs=0.0051)
    assert cells[5] == p_of(verdicts_of(payload, "100 rows")["mean", AVERAGE]["adjusted_p"])
    view.locator("#tasks input[value=mrpc]").uncheck()
    assert not any(head.startswith("average") for head in heads(drawn(view), "#overview table"))


def test_an_average_of_fewer_tasks_is_a_mean_over_the_seeds_that_all_have_and_no_verdict(
    opened: Open, found: tuple[Study, list[Table]], payload: Payload, tmp_path: Path
) -> None:
    changed = copy.deepcopy(payload)
    for panel in changed["panels"]:
        panel["average_tasks"] = [["mrpc", "rte", "wnli"] for _ in panel["average_tasks"]]
    page = opened(written(changed, tmp_path), f"#tasks=mrpc,rte&matrix={quote(AVERAGE)}")
    shown = rows(page, "#overview table")
    (table,) = (of for of in found[1] if (of.panel.kind, of.subset[0]) == ("fine-tuned", None))
    means = {row.label: of for row in table.panel.rows if (of := table.average(row, ["mrpc", "rte"]))}
    assert set(means) == {"bert", "maxpool", "mean"}
    assert means["mean"].n == 3  # of mrpc it has 4 with a score
    for label, of in means.items():
        text = shown[f"{label}baseline" if label == "bert" else label][-1]
        assert text == f"{of.mean:.2f} ± {of.std:.2f} ({of.n})"
    said = page.locator("#overview").text_content()
    assert "over the chosen tasks alone, mrpc, rte: a mean, without a verdict" in said
    facets = "document.querySelector('#overview .plot')._fullLayout.annotations.map(of => of.text)"
    assert page.evaluate(facets) == ["<b>mrpc</b>", "<b>rte</b>"]
    assert page.locator("#matrix-task option").all_text_contents() == ["mrpc", "rte"]
    assert page.locator("#matrix-task").input_value() == "rte"
    page.context.close()


def test_a_score_that_is_the_same_whatever_the_seed_is_of_every_seed_in_an_average(
    view: Page, payload: Payload
) -> None:
    choose(view, "subset", "all rows")
    script = """at => {
        Object.assign(cellOf(view.panel, at, state.subset, 'mrpc'), {fixed: true, runs: [[99, 50, false]]});
        redraw();
    }"""
    view.evaluate(script, row_at(payload, "maxpool"))
    rte = cells_of(payload, "all rows", "rte")["maxpool"]
    shown = numbers(rows(drawn(view), "#overview table")["maxpool"][-1])
    assert shown[:3] == pytest.approx([(50 + rte["mean"]) / 2, rte["std"] / 2, rte["n"]], abs=0.0051)


def test_an_ablation_says_how_much_the_choice_of_its_best_flatters(view: Page, payload: Payload) -> None:
    choose(view, "subset", "all rows")
    cells = [cell for label, cell in cells_of(payload, "all rows", "rte").items() if label.startswith("max_cls")]
    assert len(cells) == 3
    flatters = payload["best_of"][2] * np.median([cell["std"] / np.sqrt(cell["n"]) for cell in cells])
    assert payload["best_of"][:3] == pytest.approx([0, 1 / np.sqrt(np.pi), 1.5 / np.sqrt(np.pi)], abs=1e-5)
    said = view.locator("#k .notes li").all_text_contents()
    assert said == [
        f"max_cls: the best of 3 equal variants would look {flatters:.2f} points better than their mean on rte."
    ]
    assert "count every variant" in view.locator("#k .body").text_content()
    found = verdicts_of(payload, "all rows")
    shown = rows(view, "#k details table")
    assert len(shown) == 3
    for label, cells_of_row in shown.items():
        assert cells_of_row[-1] == p_of(found[label, "rte"]["adjusted_p"])
        assert re.sub(r".*\d", "", cells_of_row[-2]).strip() == SIGNED[found[label, "rte"]["mark"]]


def test_every_control_is_reached_and_works_by_keyboard(view: Page) -> None:
    reached = []
    for _ in range(60):
        view.keyboard.press("Tab")
        reached.append(view.evaluate("document.activeElement.id || document.activeElement.value"))
        if reached[-1] == "subset":
            view.keyboard.press("ArrowUp")
            drawn(view)
        if reached[-1] == "wnli":
            view.keyboard.press("Space")
            drawn(view)
        if view.evaluate("document.activeElement.matches('nav a[href*=\"at=runs\"]')"):
            view.keyboard.press("Enter")
            break
    assert [name for name in reached if name in ("baseline", "panel", "subset", "mrpc", "rte", "wnli")] == [
        "baseline", "panel", "subset", "mrpc", "rte", "wnli"
    ]  # fmt: skip
    assert "100 rows" in view.locator("#view").text_content()
    assert not view.locator("#task-wnli").is_visible()
    assert view.evaluate("document.activeElement.id") == "runs-title"
    assert view.locator("#runs-title").evaluate("title => title.getBoundingClientRect().top") < 900


def test_the_hash_restores_a_view(view: Page, opened: Open, folder: Path) -> None:
    choose(view, "subset", "100 rows")
    choose(view, "baseline", "mean")
    view.locator("#tasks input[value=rte]").uncheck()
    choose(view, "matrix-task", "mrpc")
    again = opened(folder, "#" + drawn(view).url.split("#")[1])
    assert again.locator("body").inner_text() == view.locator("body").inner_text()
    assert again.locator("#matrix-task").input_value() == "mrpc"
    again.context.close()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on methods with a recipe or an edit; there is no maxpool without."""
    root = tmp_path_factory.mktemp("parts")
    mixout, duplicate = ("recipe=mixout", "recipe.p=0.7"), ("edit=duplicate",)
    for run in grid(("mrpc", "rte"), ("bert", "mean"), 3):
        run.write(root)
    for task, seed in product(("mrpc", "rte"), (1, 2, 3)):
        Drawn((f"task={task}", "pooling=mean", *mixout), seed, 1.6).write(root)
        Drawn((f"task={task}", "pooling=bert", *mixout), seed, 0.7).write(root)
        Drawn((f"task={task}", "pooling=maxpool", *duplicate, *mixout), seed, 1.4).write(root)
    report([root], root / "report")
    return root / "report"


def compared(page: Page, task: str) -> dict[str, tuple[str, str]]:
    """Each row's baseline and difference, as the numbers of a task say."""
    return {name: (cells["baseline"], cells["difference"]) for name, cells in differences(page, task).items()}


def test_a_recipe_or_an_edit_is_compared_with_its_pooler_by_default(opened: Open, parts: Path) -> None:
    page = opened(parts)
    options = page.locator("#baseline option").all_text_contents()
    assert options[:2] == ["default: bert (a recipe or an edit: the same pooler without, where it ran)", "bert"]
    assert page.locator("#baseline").input_value() == ""
    assert list(rows(page, "#overview table")) == [
        "bertbaseline", "bert+mixout", "maxpool+duplicate+mixout", "mean", "mean+mixout (to mean)"
    ]  # fmt: skip
    for task in ("mrpc", "rte"):
        shown = compared(page, task)
        assert {name: base for name, (base, _) in shown.items()} == {
            "bert+mixout": "bert", "maxpool+duplicate+mixout": "bert", "mean": "bert", "mean+mixout": "mean"
        }  # fmt: skip
        means = {name: numbers(cells[0])[0] for name, cells in rows(page, f"#task-{task} table").items()}
        for name, (base, difference) in shown.items():
            assert numbers(difference) == pytest.approx([means[name] - means[base]], abs=0.011)
    for section in ("overview", "cost"):
        assert "bert or the method in brackets" in page.locator(f"#{section} caption").first.text_content()
        assert "bert or the method in brackets" in page.locator(f"#{section} .plot").get_attribute("aria-label")
        assert "mean+mixout (to mean)" in rows(page, f"#{section} table")
    assert (
        "Δ: method \N{MINUS SIGN} bert or the method in brackets" in page.locator("#overview figcaption").text_content()
    )
    assert "mean+mixout (to mean)" in page.locator("#overview .ytick text").all_text_contents()
    assert "the same pooler without" in page.locator("#view").text_content()
    assert page.said == []
    page.context.close()


def test_the_default_is_a_choice_and_links_keep_it(opened: Open, parts: Path) -> None:
    page = opened(parts, "#baseline=bert")
    assert compared(page, "rte")["mean+mixout"][0] == "bert"
    assert "in brackets" not in page.locator("main").text_content()
    assert list(rows(page, "#overview table"))[-1] == "mean+mixout"
    choose(page, "baseline", "mean")
    assert list(rows(page, "#overview table"))[:3] == ["meanbaseline", "mean+mixout", "bert"]
    choose(page, "baseline", page.locator("#baseline option").first.text_content())
    assert "baseline=&" in page.url
    again = opened(parts, "#" + page.url.split("#")[1])
    for of in (page, again):
        assert compared(of, "rte")["mean+mixout"][0] == "mean"
        of.context.close()


def test_a_verdict_is_the_same_on_the_page_and_in_the_tables(opened: Open, parts: Path) -> None:
    page = opened(parts)
    signs = page.evaluate(
        """view.rows.map(row => [named(row).label,
           view.columns.map(column => ({better: 1, worse: -1})[verdict(row, column)?.mark] ?? 0)])"""
    )
    cells = {name: of for name, of in tex_tables.read(parts / "tables.tex")[1].items() if name != "method"}
    arrows = {name: [("uparrow" in cell) - ("downarrow" in cell) for cell in of] for name, of in cells.items()}
    assert {name: of for name, of in signs if name != "bert"} == arrows
    assert not any(dict(signs)["bert"])
    assert any(sign for _, of in signs for sign in of)
    page.context.close()


def test_a_link_leads_to_its_section_each_time(view: Page) -> None:
    top = "document.getElementById('runs-title').getBoundingClientRect().top"
    for _ in range(2):
        view.evaluate("scrollTo(0, 0)")
        assert view.evaluate(top) > 900
        view.click("nav a[href*='at=runs']")
        view.wait_for_function(f"{top} < 900")  # the browser tells of the new address a moment later
    assert view.locator("main").get_attribute("aria-busy") == "false"


def test_another_encoder_or_kind_has_its_own_rows(view: Page, payload: Payload) -> None:
    probe = panel_of(payload, "probe")
    choose(view, "panel", f"{probe['encoder']}, probe")
    assert list(rows(view, "#overview table")) == ["meanbaseline"]
    assert view.locator("#overview .empty").is_visible()
    assert view.locator("#tasks input[value=mrpc]").is_disabled()
    assert view.said == []


def test_ablations_and_curves_are_drawn_where_there_are_any_and_else_say_why(view: Page) -> None:
    choose(view, "subset", "all rows")
    for section in ("curves", "k", "heads"):
        assert view.locator(f"#{section} .plot .main-svg").count()
    choose(view, "subset", "100 rows")
    assert "No two methods" in view.locator("#k .empty").text_content()


def test_nothing_chosen_is_said(view: Page) -> None:
    for task in ("mrpc", "rte", "wnli"):
        view.locator(f"#tasks input[value={task}]").uncheck()
    assert "No task" in drawn(view).locator("#overview .empty").text_content()
    assert view.locator("#runs table").count() == 2
    assert view.said == []


@pytest.mark.parametrize(
    "width", [360, pytest.param(768, marks=pytest.mark.long), pytest.param(1440, marks=pytest.mark.long)]
)
def test_the_page_never_scrolls_sideways(view: Page, width: int) -> None:
    view.set_viewport_size({"width": width, "height": 900})
    view.wait_for_timeout(250)
    drawn(view).evaluate("document.querySelectorAll('details').forEach(of => { of.open = true; })")
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    widest = view.evaluate(
        "Math.max(...[...document.querySelectorAll('.main-svg')].map(of => of.getBoundingClientRect().right))"
    )
    assert widest <= width


def test_it_prints_without_controls_and_with_figures_that_fit(view: Page) -> None:
    assert view.pdf(format="A4").startswith(b"%PDF")
    view.emulate_media(media="print")
    view.set_viewport_size({"width": 700, "height": 1000})
    drawn(view)
    assert not view.locator("#controls").is_visible()
    assert view.locator("#view").is_visible()
    widths = view.evaluate(
        "[...document.querySelectorAll('.plot > *, .main-svg')].map(of => of.getBoundingClientRect().width)"
    )
    assert max(widths) <= 700
    view.emulate_media(media="screen")
    assert view.said == []


def test_hostile_text_is_shown_and_runs_nothing(opened: Open, payload: Payload, tmp_path: Path) -> None:
    changed = copy.deepcopy(payload)
    panel = panel_of(changed)
    at = next(i for i, row in enumerate(panel["rows"]) if row["label"] == "mean")
    panel["rows"][at]["label"] = HOSTILE
    panel["baselines"][HOSTILE] = panel["baselines"]["mean"]
    for of_subset in panel["families"]:
        of_subset[HOSTILE] = of_subset["mean"]
    panel["encoder"] = HOSTILE
    next(row for row in panel["rows"] if row["label"] == "maxpool")["label"] = MARKUP
    changed["notes"].append(HOSTILE)
    page = opened(written(changed, tmp_path), f"#baseline={quote(HOSTILE)}")
    assert page.evaluate("typeof ran") == "undefined"
    assert page.locator("main img, main script").count() == 0
    assert f"{HOSTILE}baseline" in rows(page, "#overview table")
    assert HOSTILE in page.locator("#runs").text_content()
    assert f"failed: {HOSTILE}" in page.locator("#runs").text_content()
    labels = page.locator("#task-mrpc .ytick text").all_text_contents()
    assert MARKUP in labels
    assert any(label.startswith("<script>") for label in labels)
    assert MARKUP in page.locator("#cost .legendtext").all_text_contents()
    page.locator("#task-mrpc .point").first.hover(force=True)
    page.wait_for_selector(".hovertext")
    assert page.locator(".hovertext").first.text_content().startswith(HOSTILE)
    assert page.evaluate("typeof ran") == "undefined"
    assert page.said == []
    page.context.close()


def test_a_tasks_name_may_be_any_folders(opened: Open, payload: Payload, tmp_path: Path) -> None:
    name = "ma tâche"
    changed = json.loads(json.dumps(payload).replace('"rte"', json.dumps(name)))
    page = opened(written(changed, tmp_path))
    assert page.locator("nav a", has_text=name).is_visible()
    assert page.locator("section.task figure").count() >= len(changed["tasks"])
    assert page.said == []
    page.context.close()


def test_nothing_in_the_payload_ends_its_script(payload: Payload) -> None:
    text = report_page.html(payload | {"notes": [HOSTILE, "\u2028\u2029"]})
    start = text.index('id="payload">') + len('id="payload">')
    embedded = text[start : text.index("</script>", start)]
    assert not set("<>&\u2028\u2029") & set(embedded)
    assert json.loads(embedded)["notes"] == [HOSTILE, "\u2028\u2029"]


def test_a_number_that_json_has_not_is_refused(payload: Payload) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        report_page.html(payload | {"alpha": float("nan")})


def test_one_run_is_enough(opened: Open, tmp_path: Path) -> None:
    single = made(tmp_path / "runs", iter([Drawn(("task=rte", "pooling=mean"))]))
    folder = tmp_path / "page"
    folder.mkdir()
    page = opened(written(single | {"baseline": "mean"}, folder))
    assert list(rows(page, "#overview table")) == ["meanbaseline"]
    assert page.said == []
    page.context.close()


def test_a_hundred_methods_are_shown(opened: Open, payload: Payload, tmp_path: Path) -> None:
    changed = copy.deepcopy(payload)
    panel = panel_of(changed)
    first = next(i for i, row in enumerate(panel["rows"]) if row["label"] == "mean")
    for n in range(100):
        panel["rows"].append(panel["rows"][first] | {"label": f"mean with a rather long setting={n}"})
        panel["cells"] += [cell | {"row": len(panel["rows"]) - 1} for cell in panel["cells"] if cell["row"] == first]
    for name, of in panel["baselines"].items():
        panel["baselines"][name] = [of_subset + [0] * 100 for of_subset in of]
    page = opened(written(changed, tmp_path))
    assert len(rows(page, "#overview table")) > 100
    assert page.locator("#task-rte .plot").bounding_box()["height"] > 1000
    assert page.said == []
    page.context.close()


def test_pooled_draws_are_shown_as_such(opened: Open, tmp_path: Path) -> None:
    runs = product(("rte", "cola"), ("bert", "maxpool"), range(6))
    drawn = (
        Drawn((f"task={t}", f"pooling={m}", "subset=n100", f"subset.seed={seed % 3}"), seed)
        for t, m, seed in runs
        if (t, m, seed) != ("rte", "bert", 5)
    )
    found, compared = read(tmp_path / "runs", drawn)
    compared = with_pooled(found, compared)
    page = opened(
        written(payload_of(found, compared, None, ["cola", "rte"]), tmp_path), "#rows=100 rows, 3 draws pooled"
    )
    table, shown = compared[-1], rows(page, "#overview table")
    for row in table.panel.rows:
        cells = [table.panel.cell(row, table.subset, task).summary for task in ("cola", "rte")]
        average = table.average(row, ["cola", "rte"])
        assert average is not None
        texts = shown[row.label + "baseline" * (row.label == "bert")]
        for text, of in zip(texts, [*cells, average], strict=True):
            assert text.startswith(f"{of.mean:.2f} ± {of.std:.2f} (3)")
    said = page.locator("#overview").text_content()
    assert "standard deviation over draws" in said
    assert "for new draws, seeds and new dev examples" in said
    assert "speak of another draw" not in said
    assert "draws for 1.25 points" in page.locator("#task-rte").text_content()
    assert page.locator("#summary").text_content().startswith("23 runs of 2 methods")
    choose(page, "subset", "100 rows")
    assert "speak of another draw of the 100 train rows" in page.locator("#overview").text_content()
    assert page.said == []
    page.context.close()


@pytest.fixture(scope="module")
def own_units(tmp_path_factory: pytest.TempPathFactory) -> tuple[Payload, Path]:
    """A report on tasks in points and in other units, lower being better there; maxpool is better everywhere."""
    root = tmp_path_factory.mktemp("units")
    runs = product(("rte", "risk", "price", "topics"), (("bert", 0.5), ("maxpool", 1.5)), range(5), ("n100", "full"))
    drawn = (Drawn((f"task={t}", f"pooling={m}", f"subset={rows}"), seed, s) for t, (m, s), seed, rows in runs)
    found = made(root / "runs", drawn)
    return found, written(found, tmp_path_factory.mktemp("page"))


def test_a_score_in_a_unit_of_its_own_is_shown_as_it_is(opened: Open, own_units: tuple[Payload, Path]) -> None:
    payload, folder = own_units
    page = opened(folder)
    head = next(text for text in heads(page, "#overview table") if text.startswith("risk"))
    assert head == "risklog loss, nats, lower is better, outside the average"
    for task, digits in (("risk", 4), ("price", 0), ("rte", 2)):
        for label, cell in cells_of(payload, "all rows", task).items():
            shown = rows(page, f"#task-{task} table")[label]
            assert shown[:2] == [f"{cell['mean']:.{digits}f}", f"{cell['std']:.{digits}f}"]
    section = page.locator("#task-risk")
    assert "Log loss on the 250 rows of the dev split; nats; lower is better" in section.text_content()
    assert "points" not in section.text_content()
    assert "differences to the baseline, unit: nats; reductions" in section.text_content()
    assert "seeds for 1.25 points" in page.locator("#task-rte").text_content()
    assert (
        "in points, or in a task\N{RIGHT SINGLE QUOTATION MARK}s own unit"
        in page.locator("#overview caption").text_content()
    )
    assert page.said == []
    page.context.close()


def test_no_mark_changes_with_the_tasks_that_are_chosen(opened: Open, own_units: tuple[Payload, Path]) -> None:
    payload, folder = own_units
    page = opened(folder)
    every = [task["name"] for task in payload["tasks"]]
    for baseline, tasks in product(("bert", "maxpool"), (every, ["rte"])):
        script = "([base, tasks]) => { state.baseline = base; state.tasks = new Set(tasks); redraw(); }"
        page.evaluate(script, [baseline, tasks])
        shown, columns = rows(drawn(page), "#overview table"), heads(page, "#overview table")
        found = {of: verdict for of, verdict in verdicts_of(payload, "all rows", baseline).items() if of[1] in tasks}
        assert len(found) == len(tasks)
        for (label, task), of in found.items():
            at = next(i for i, head in enumerate(columns) if head.startswith(task))
            cell, of_task = shown[label][at], differences(page, task)[label]
            assert re.sub(r".*\d", "", cell).strip() == SIGNED[of["mark"]]
            assert of_task["adjusted p (table)"] == p_of(of["adjusted_p"])
            assert of_task["row p"] == p_of(of["row_p"])
    marks = {of["mark"] for base in ("bert", "maxpool") for of in verdicts_of(payload, "all rows", base).values()}
    assert marks >= {"better", "worse"}
    page.context.close()


def test_pairs_and_ranks_are_as_all_pairs_of_their_task_are_corrected(
    opened: Open, view: Page, payload: Payload, own_units: tuple[Payload, Path]
) -> None:
    choose(view, "subset", "all rows")
    choose(view, "matrix-task", "mrpc")
    turned = {"better": "worse", "worse": "better", "equivalent": "equivalent", "": ""}
    seen: set[Any] = set()
    two = opened(own_units[1], "#matrix=risk")
    for page, of_report, task in ((view, payload, "mrpc"), (two, own_units[0], "risk")):
        columns, shown = heads(page, "#matrix details table"), rows(page, "#matrix details table")
        for of in comparisons_of(of_report, "all rows"):
            if of["task"] == task:
                one = shown[of["method"]][columns.index(of["baseline"])]
                other = shown[of["baseline"]][columns.index(of["method"])]
                assert re.sub(r".*\d", "", one).strip() == SIGNED[of["pair_mark"]]
                assert re.sub(r".*\d", "", other).strip() == SIGNED[turned[of["pair_mark"]]]
                seen.add(of["pair_mark"])
        panel = panel_of(of_report)
        place = next(i for i, of in enumerate(panel["subsets"]) if of["label"] == "all rows")
        ranks = {panel["rows"][row]["label"]: (first, last) for row, first, last in panel["ranks"][place][task]}
        table = rows(page, "#matrix .body > .scroll table")
        assert set(table) == set(ranks)
        for label, (first, last) in ranks.items():
            rank = str(first) if first == last else f"{first} to {last}"
            assert table[label][1:] == [rank, "✓" if first == 1 else ""]
            seen.add((first, last))
        caption = page.locator("#matrix .body > .scroll caption").text_content()
        assert "in 95 % the true ranks of all rows at once" in caption
        assert "corrected for all pairs of methods on the task" in page.locator("#matrix .lead").text_content()
    assert seen >= {"", "better", (1, 1), (2, 2), (1, 3)}
    two.context.close()


def test_a_method_is_better_where_the_score_is_lower(opened: Open, own_units: tuple[Payload, Path]) -> None:
    payload, folder = own_units
    page = opened(folder)
    at = [head.startswith("risk") for head in heads(page, "#overview table")].index(True)
    assert rows(page, "#overview table")["maxpool"][at].endswith("▲ better")
    cells = differences(page, "risk")["maxpool"]
    (of,) = [of for of in comparisons_of(payload, "all rows") if of["task"] == "risk"]
    assert cells["difference"] == f"+{of['estimate']:.4f}"
    assert cells["wins / ties / losses"] == "5 / 0 / 0"
    assert [numbers(cells[name]) for name in ("P(improvement)", "ASO")] == [[1.0], [0.0]]
    choose(page, "baseline", "maxpool")
    assert rows(page, "#overview table")["bert"][at].endswith("▼ worse")
    assert page.evaluate("fewest(view.rows).map(row => row.label)") == ["maxpool", "bert"]
    choose(page, "baseline", "bert")
    page.evaluate("state.tasks = new Set(['risk']); redraw()")
    assert page.evaluate("view.rows.forEach(row => { row.isBase = false; }); fewest(view.rows)[0].label") == "maxpool"
    page.context.close()


def test_every_axis_of_scores_has_the_tasks_unit(opened: Open, own_units: tuple[Payload, Path]) -> None:
    page = opened(own_units[1], "#tasks=rte,risk&cost=risk&matrix=risk")
    titles = """id => [...document.querySelectorAll(`#${id} .plot`)].map(plot => Object.entries(plot._fullLayout)
        .filter(([key]) => /^[xy]axis[0-9]*$/.test(key)).map(([, axis]) => axis.title.text))"""
    (of_task,) = page.evaluate(titles, "task-risk")
    assert set(of_task) == {"score (nats)", "Δ to bert (nats)", "method"}
    (forest,) = page.evaluate(titles, "overview")
    assert {"Δ (points)", "Δ (nats)"} <= set(forest)
    for section, title in (("curves", "score"), ("stability", "sd")):
        assert {f"{title} (points)", f"{title} (nats)"} <= set(page.evaluate(titles, section)[0])
    assert {"expected best (points)", "expected best (nats)"} <= set(page.evaluate(titles, "stability")[1])
    assert "difference (nats)" in page.evaluate(titles, "cost")[0]
    assert "Column minus row, unit: nats" in page.locator("#matrix figcaption").text_content()
    assert page.evaluate("document.querySelector('#matrix .plot').data[0].colorbar.title.text") == "difference (nats)"
    assert page.said == []
    page.context.close()


def test_published_scores_are_those_of_the_reports_tasks(opened: Open, own_units: tuple[Payload, Path]) -> None:
    page = opened(own_units[1])
    assert "rte" in heads(page, "#published table")
    assert "risk" not in heads(page, "#published table")
    page.context.close()


def test_a_report_on_ones_own_tasks_alone_claims_nothing_of_glue(opened: Open, tmp_path: Path) -> None:
    runs = (Drawn(("task=spam", f"pooling={m}"), seed, official=False) for m in ("bert", "mean") for seed in (1, 2))
    folder = tmp_path / "page"
    folder.mkdir()
    page = opened(written(made(tmp_path / "runs", runs), folder))
    assert "none of the tasks of this report" in page.locator("#published .empty").text_content()
    assert "GLUE" not in page.locator("body").inner_text()
    assert "GLUE" not in page.title()
    page.context.close()
