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
from glue_pool import stats
from glue_pool.report import page as report_page
from glue_pool.report import report
from glue_pool.report.payload import payload as payload_of
from glue_pool.report.scan import scan
from glue_pool.report.study import study
from glue_pool.report.verdicts import AVERAGE, tables
from run_folders import Drawn, grid

api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install glue-pool[dev]")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on PATH")

Page = Any  # playwright's
Payload = dict[str, Any]
Open = Callable[..., Page]
MARKUP = "<b>x</b><i>&lt;y</i>"  # that Plotly would read
HOSTILE = "<script>ran=1</script></script><img src=x onerror=ran=1> <b>\"'&amp;</b>"


def made(root: Path, drawn: Iterator[Drawn]) -> Payload:
    for run in drawn:
        run.write(root)
    found = study(*scan([root]))
    return payload_of(found, tables(found, list(found.tasks)), None, list(found.tasks))


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


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Payload:
    return made(tmp_path_factory.mktemp("runs"), example())


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
    table = "#task-rte .body details .scroll:nth-of-type(2) table"
    shown, columns = rows(view, table), heads(view, table)
    found = [of for of in comparisons_of(payload, "all rows") if of["task"] == "rte" and of["method"] == "mean"]
    assert any(of["baseline"] == "bert" for of in found)
    for of in found:
        cells = dict(zip(columns, shown[of["baseline"]], strict=True))
        assert numbers(cells["difference"]) == [round(-of["estimate"], 2)]
        if of["low"] is not None:
            assert numbers(cells["95 % interval"]) == pytest.approx([-of["high"], -of["low"]], abs=0.0051)
            assert numbers(cells["seeds alone"]) == pytest.approx(
                [-of["by_seeds_high"], -of["by_seeds_low"]], abs=0.0051
            )
        assert cells["wins / ties / losses"] == f"{of['losses']} / {of['ties']} / {of['wins']}"
        assert numbers(cells["P(improvement)"]) == pytest.approx([1 - of["improvement"]], abs=0.0051)
        if of["violation"] is not None:
            bound = np.clip(1 - of["violation"] + payload["normal_quantiles"][2] * of["violation_std"], 0, 1)
            assert numbers(cells["ASO"]) == pytest.approx([bound], abs=0.0051)


def test_p_is_corrected_for_the_tasks_that_are_shown(view: Page, payload: Payload) -> None:
    choose(view, "subset", "all rows")
    for tasks in (["mrpc", "rte", "wnli"], ["mrpc", "rte"]):
        view.locator("#tasks input[value=wnli]").set_checked("wnli" in tasks)
        drawn(view)
        found = {
            of["task"]: of["p"]
            for of in comparisons_of(payload, "all rows")
            if (of["baseline"], of["method"]) == ("bert", "maxpool") and of["task"] in tasks
        }
        assert list(found) == tasks
        for task, p in zip(found, stats.holm(np.array(list(found.values()))), strict=True):
            table = f"#task-{task} .body details .scroll:nth-of-type(2) table"
            cells = dict(zip(heads(view, table), rows(view, table)["maxpool"], strict=True))
            assert cells["adjusted p"] == ("<0.001" if p < 0.001 else f"{p:.3f}")


@pytest.mark.parametrize(
    "p", [[0.01, 0.04, 0.03], [0.02, None, 0.001], [None, None], [0.5, 0.5, 0.9], [0.0], [0.2, 0.2, 0.011, 0.04]]
)
def test_the_page_corrects_as_stats_does(page: Page, p: list[float | None]) -> None:
    expected = stats.holm(np.array([np.nan if value is None else value for value in p]))
    adjusted = [np.nan if value is None else value for value in page.evaluate("p => holm(p)", p)]
    np.testing.assert_allclose(adjusted, expected)


def test_the_average_leaves_wnli_out_and_has_an_interval_only_of_all_its_tasks(view: Page, payload: Payload) -> None:
    choose(view, "subset", "100 rows")
    assert heads(view, "#overview table")[-1] == "averageof 2"
    means = [cells_of(payload, "100 rows", task)["mean"]["mean"] for task in ("mrpc", "rte")]
    assert numbers(rows(view, "#overview table")["mean"][-1]) == [pytest.approx(np.mean(means), abs=0.0051)]
    assert "/average" not in view.locator("main").text_content()
    whole = view.evaluate("verdicts(view.rows.find(row => row.label === 'mean'))[AVERAGE]")
    found = next(
        of for of in comparisons_of(payload, "100 rows")
        if (of["task"], of["baseline"], of["method"]) == (AVERAGE, "bert", "mean")
    )  # fmt: skip
    assert (whole["estimate"], whole["low"], whole["adjusted"]) == (found["estimate"], found["low"], found["p"])
    view.locator("#tasks input[value=mrpc]").uncheck()
    assert not any(head.startswith("average") for head in heads(drawn(view), "#overview table"))


def test_fewer_tasks_of_the_average_have_a_mean_difference_alone(
    opened: Open, payload: Payload, tmp_path: Path
) -> None:
    changed = copy.deepcopy(payload)
    for panel in changed["panels"]:
        panel["average_tasks"] = [["mrpc", "rte", "wnli"] for _ in panel["average_tasks"]]
    page = opened(written(changed, tmp_path), "#rows=100 rows&tasks=mrpc,rte")
    verdict = page.evaluate("verdicts(view.rows.find(row => row.label === 'mean'))")
    estimates = [verdict[task]["estimate"] for task in ("mrpc", "rte")]
    assert verdict[AVERAGE]["estimate"] == pytest.approx(np.mean(estimates))
    assert verdict[AVERAGE]["low"] is None
    assert "mean difference, without an interval" in page.locator("#overview figcaption").text_content()
    page.context.close()


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
    table = f"#task-{task} .body details .scroll:nth-of-type(2) table"
    at = heads(page, table).index("difference")
    return {name: (cells[0], cells[at]) for name, cells in rows(page, table).items()}


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
        assert "bert or the method in brackets" in page.locator(f"#{section} caption").text_content()
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
        "view.rows.map(row => [named(row).label, view.columns.map(column => verdicts(row)[column]?.sign ?? 0)])"
    )
    cells = {name: of for name, of in tex_tables.read(parts / "tables.tex")[0].items() if name != "method"}
    arrows = {name: [("uparrow" in cell) - ("downarrow" in cell) for cell in of] for name, of in cells.items()}
    assert arrows == dict(signs)
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


@pytest.mark.parametrize("width", [360, 768, 1440])
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


def test_a_method_is_better_where_the_score_is_lower(opened: Open, own_units: tuple[Payload, Path]) -> None:
    payload, folder = own_units
    page = opened(folder)
    at = [head.startswith("risk") for head in heads(page, "#overview table")].index(True)
    assert rows(page, "#overview table")["maxpool"][at].endswith("▲ better")
    table = "#task-risk .body details .scroll:nth-of-type(2) table"
    cells = dict(zip(heads(page, table), rows(page, table)["maxpool"], strict=True))
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
    assert "Column minus row, unit: nats" in page.locator("#matrix caption").text_content()
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
