"""A stand-in for W&B's servers on 127.0.0.1: it answers what wandb asks, and keeps what was uploaded."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

ENTITY = "someone"
KEY = "0" * 40
SWEEP = "sweep123"


@dataclass
class Backend:
    """What arrived, and the one sweep that it has.

    asked: the name of every GraphQL operation; runs: every upsert of a run; files: file-stream posts by run id;
    views: saved workspaces. sweep: its config, as YAML; jobs: the run ids and parameters that agents have still to get.
    broken: the end of the paths that it refuses.
    """

    asked: list[str] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    views: list[dict[str, Any]] = field(default_factory=list)
    sweep: str = ""
    jobs: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    broken: str | None = None
    url: str = ""

    def environment(self) -> dict[str, str]:
        """Return what makes wandb talk to this server and no other."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false"}

    def uploads(self) -> dict[str, int]:
        """Return how many times each run was uploaded to its end."""
        ends = {run_id: sum("exitcode" in post for post in posts) for run_id, posts in self.files.items()}
        return {run_id: count for run_id, count in ends.items() if count}

    def summary(self, run_id: str) -> dict[str, Any]:
        """Return the last summary that was uploaded of a run."""
        chunks = [post.get("files", {}).get("wandb-summary.json", {}) for post in self.files[run_id]]
        contents = [chunk["content"] for chunk in chunks if chunk.get("content")]
        summary: dict[str, Any] = json.loads(contents[-1][0])
        return summary

    def history(self, run_id: str) -> list[dict[str, Any]]:
        """Return the rows that were uploaded of a run."""
        chunks = [post.get("files", {}).get("wandb-history.jsonl", {}) for post in self.files[run_id]]
        return [json.loads(line) for chunk in chunks for line in chunk.get("content", [])]

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the data of a GraphQL operation."""
        self.asked.append(operation)
        project = {"name": variables.get("project"), "entity": {"name": ENTITY}}
        match operation:
            case "UpsertBucket":
                self.runs.append(variables)
                bucket = {"id": "1", "name": variables["name"], "displayName": variables["displayName"]}
                bucket |= {"config": "{}", "sweepName": variables.get("sweep"), "historyLineCount": 0}
                return {"upsertBucket": {"bucket": bucket | {"project": project}, "inserted": True}}
            case "Viewer":
                viewer = {"id": "1", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}
                return {"viewer": viewer | {"name": ENTITY, "email": "", "admin": False, "apiKeys": {"edges": []}}}
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
            case "CreateRunFiles":
                files = [{"name": name, "uploadUrl": f"{self.url}/storage/{name}"} for name in variables["files"]]
                return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
            case "RunResumeStatus":
                return {"model": {"bucket": None}}
            case "UpsertView2":
                self.views.append(variables)
                return {"upsertView": {"view": {"id": "1", "name": variables["name"]}, "inserted": True}}
            case "View":
                saved = [view for view in self.views if view["name"] == variables["viewName"]][-1:]
                nodes = [{"node": view | {"id": "1", "displayName": view["displayName"]}} for view in saved]
                return {"project": {"allViews": {"edges": nodes}}}
            case "UpsertSweep":
                self.sweep = variables["config"]
                project = {"name": variables["projectName"], "entity": {"name": ENTITY}}
                return {"upsertSweep": {"sweep": {"name": SWEEP, "project": project}, "configValidationWarnings": []}}
            case "SweepWithRuns":
                return {"project": {"sweep": {"name": SWEEP, "config": self.sweep, "runs": {"edges": []}}}}
            case "CreateAgent":
                return {"createAgent": {"agent": {"id": "1"}}}
            case "Heartbeat":
                commands = []
                if self.jobs and json.loads(variables["runState"]) == {}:  # its agent does one job at a time
                    run_id, parameters = self.jobs.pop(0)
                    commands = [{"type": "run", "run_id": run_id, "program": "", "args": parameters}]
                return {"agentHeartbeat": {"agent": {"id": "1"}, "commands": json.dumps(commands)}}
            case _:
                raise NotImplementedError(f"{operation} {variables}")


@contextmanager
def serve() -> Iterator[Backend]:
    """Serve inside the `with`."""
    backend = Backend()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            print("GET", self.path)
            self._send({})

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._send({})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            if backend.broken is not None and self.path.endswith(backend.broken):
                self._send({}, status=400)
            elif self.path == "/graphql":
                found = re.search(r"(?:query|mutation)\s+(\w+)", body["query"])
                operation = found[1] if found else body["query"]
                self._send({"data": backend.answer(operation, body.get("variables") or {})})
            elif self.path.endswith("/file_stream"):
                backend.files.setdefault(self.path.split("/")[-2], []).append(body)
                self._send({})
            else:
                print("POST", self.path)
                self._send({})

        def _send(self, content: dict[str, Any], status: int = 200) -> None:
            encoded = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    backend.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield backend
    finally:
        server.shutdown()
        server.server_close()
