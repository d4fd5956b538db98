"""The project's dashboard in W&B: a workspace with the scores, their cost and what went wrong.

Runs are grouped by what is to be compared: W&B's group (task/method), the encoder and the subset. So a bar or a line
is a mean over seeds, and the spread is theirs. Filter the runs in W&B to look at one task or one encoder.
"""

from typing import Literal

import wandb
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr
from wandb_workspaces.reports.v2.interface import (
    BarPlot,
    Config,
    LinePlot,
    PanelTypes,
    RunComparer,
    ScatterPlot,
    SummaryMetric,
)

from glue_pool.errors import UserError

GROUPS: list[expr.MetricType] = [expr.Metric("Group"), expr.Config("labels.encoder"), expr.Config("labels.subset")]
COLUMNS = ["run:state", "summary:score", "summary:primary_metric", "summary:collapsed", "summary:error"]
MOST = 1000  # bars, and runs behind them, that a panel shows


def build(entity: str, project: str) -> ws.Workspace:
    """Return the dashboard; the network is not asked."""
    return ws.Workspace(
        entity=entity,
        project=project,
        name="glue-pool",
        sections=[
            ws.Section(name="Dev score", panels=dev_score(), is_open=True),
            ws.Section(name="Low-resource curves", panels=low_resource(), is_open=True),
            ws.Section(name="Loss and learning rate", panels=training(), is_open=True),
            ws.Section(name="Cost", panels=cost(), is_open=True),
            ws.Section(name="Collapsed and failed runs", panels=troubles(), is_open=True),
        ],
        settings=ws.WorkspaceSettings(x_axis="step", max_runs=100),
        runset_settings=ws.RunsetSettings(groupby=GROUPS, pinned_columns=COLUMNS),
    )


def as_json(dashboard: ws.Workspace) -> str:
    """Return what W&B would keep of a dashboard; the network is not asked."""
    spec: str = dashboard._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=2)
    return spec


def save(dashboard: ws.Workspace, url: str | None = None) -> None:
    """Save the dashboard, in place of the one at `url` if that is given; wandb prints where it is.

    Raises UserError if W&B can't be used.
    """
    try:
        if url:
            saved = ws.Workspace.from_url(url)
            saved.sections = dashboard.sections
            saved.settings = dashboard.settings
            saved.runset_settings = dashboard.runset_settings
            dashboard = saved
        dashboard.save()
    except (wandb.Error, ValueError) as error:
        raise UserError(f"{error}; `wandb login` gives access to W&B, --dry-run needs none") from None


def dev_score() -> list[PanelTypes]:
    """The score after the last epoch by task and method, and beside it the best epoch's, which flatters."""
    return [
        bars("Dev score after the last epoch, mean and standard deviation over seeds", "score"),
        bars("Dev score of the best epoch (picked on the dev split)", "best/score"),
        bars("Worst seed: the score, negative where lower is better", "objective", aggregate="min"),
    ]


def low_resource() -> list[PanelTypes]:
    """The score against train rows: a line a task and method, and its single runs."""
    return [
        LinePlot(
            title="Dev score by train rows, mean and standard deviation over seeds",
            x="train_rows",
            y=["score"],
            log_x=True,
            groupby="Group",  # not by subset: that is the axis
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
            max_runs_to_show=MOST,
        ),
        ScatterPlot(
            title="Dev score by train rows",
            x=Config("labels.train_rows"),
            y=SummaryMetric("score"),
            log_x=True,
        ),
    ]


def training() -> list[PanelTypes]:
    """What was logged while training, by optimizer step."""
    return [
        lines("Training loss", "train/loss"),
        lines("Dev loss, first dev split", "dev/loss"),
        lines("Dev score", "dev/score"),
        lines("Learning rate", "train/learning_rate"),
    ]


def cost() -> list[PanelTypes]:
    """Seconds, speed, memory and parameters of a run."""
    return [
        bars("Training, seconds", "timing/train_seconds"),
        bars("Whole run, seconds", "timing/total_seconds"),
        bars("Training, examples/s", "timing/train_examples_per_second"),
        bars("Peak memory, bytes", "peak_memory_bytes"),
        bars("Parameters", "parameters/total"),
        bars("Parameters between encoder and classifier", "parameters/pooling"),
    ]


def troubles() -> list[PanelTypes]:
    """How many runs predict one class only or failed, and what their configs have that others' have not."""
    return [
        bars("Collapsed runs: every dev prediction is the same", "collapsed", aggregate="sum"),
        bars("Failed runs", "failed", aggregate="sum"),
        RunComparer(diff_only="split"),
    ]


def bars(title: str, metric: str, aggregate: Literal["mean", "min", "sum"] = "mean") -> BarPlot:
    """One bar a group of runs; a mean has the standard deviation over its runs."""
    return BarPlot(
        title=title,
        metrics=[metric],
        groupby_aggfunc=aggregate,
        groupby_rangefunc="stddev" if aggregate == "mean" else "none",
        max_runs_to_show=MOST,
        max_bars_to_show=MOST,
    )


def lines(title: str, *metrics: str) -> LinePlot:
    """One line a group of runs and metric, with the standard deviation over runs around it."""
    return LinePlot(
        title=title,
        x="step",
        y=list(metrics),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=100,
    )
