"""Save a dashboard in W&B: scores, curves, cost, failures."""

import os
from collections.abc import Sequence

from glue_pool.commands import Parser
from glue_pool.errors import UserError


def main(argv: Sequence[str]) -> None:
    """Save the dashboard, or print what would be saved."""
    parser = Parser(
        prog="glue-pool dashboard",
        description="Save the project's dashboard in W&B: scores by task and method over seeds, low-resource curves, "
        "loss and learning rate, cost, collapsed and failed runs.",
    )
    parser.add_argument("--entity", required=True, help="your W&B user or team")
    parser.add_argument("--project", default="glue_pool", help="the W&B project (glue_pool)")
    parser.add_argument("--url", help="renew this dashboard, which was saved before, instead of making another")
    parser.add_argument("--dry-run", action="store_true", help="print the dashboard as JSON; needs no network")
    args = parser.parse_args(argv)
    if not args.dry_run:
        from glue_pool.on_wandb.variables import check_variables

        check_variables({name: value for name, value in os.environ.items() if name.startswith("WANDB_")})
    try:
        from glue_pool.on_wandb import dashboard
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "wandb_workspaces":
            raise
        install = 'pip install -c constraints.txt ".[dashboard]"'
        raise UserError(f"dashboard: the package wandb-workspaces is missing; {install}") from None

    built = dashboard.build(args.entity, args.project)
    if args.dry_run:
        print(dashboard.as_json(built))
    else:
        dashboard.save(built, args.url)
