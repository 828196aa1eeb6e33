"""Run a notebook with this very Python, on the embedded broker, and keep only what is needed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from traitlets import default

ROOT = Path(__file__).resolve().parents[2]
MAY_RAISE = "raises-exception"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class ExecutionError(Exception):
    """A cell that did not run as its author meant it to."""


class _ThisPython(KernelSpecManager):
    """Knows one kernel: the interpreter that runs the tool, whatever is registered elsewhere."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name=kernel_name,
            language="python",
        )


class _Kernel(AsyncKernelManager):
    @default("kernel_spec_manager")
    def _this_python(self) -> KernelSpecManager:
        return _ThisPython(parent=self)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary home for what Jupyter leaves behind: connection files, profiles."""
    before = os.environ.get("JUPYTER_RUNTIME_DIR")
    with tempfile.TemporaryDirectory(prefix="lab-build-", ignore_cleanup_errors=True) as folder:
        os.environ["JUPYTER_RUNTIME_DIR"] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ["JUPYTER_RUNTIME_DIR"]
            if before is not None:
                os.environ["JUPYTER_RUNTIME_DIR"] = before


def kernel_environment(scratch: Path) -> dict[str, str]:
    """The environment of a kernel: no broker but the embedded one, no settings of the user's."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("LABKIT_")}
    paths = [str(ROOT), *filter(None, [env.get("PYTHONPATH")])]
    return {
        **env,
        "PYTHONPATH": os.pathsep.join(paths),
        "IPYTHONDIR": str(scratch / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


async def execute(notebook: NotebookNode, folder: Path, scratch: Path, timeout_s: float) -> None:
    """Run `notebook` in `folder` and leave its outputs in it.

    Raises:
        ExecutionError: a cell raised, hung, or did not raise where it should; names the cell.
    """
    running = 0

    def note(cell: NotebookNode, cell_index: int) -> None:  # noqa: ARG001 - nbclient names them
        nonlocal running
        running = cell_index

    client = NotebookClient(
        notebook,
        timeout=timeout_s,
        kernel_name="python3",
        kernel_manager_class=_Kernel,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=40"],  # errors only
        resources={"metadata": {"path": str(folder)}},
        on_cell_execute=note,
        on_notebook_start=_leave_ctrl_c_alone,
    )
    try:
        await client.async_execute(env=kernel_environment(scratch))
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise ExecutionError(_report(notebook, running, error, timeout_s)) from None
    _clean(notebook)
    _require_errors(notebook)


def _leave_ctrl_c_alone(**_: Any) -> None:
    """Undo nbclient's handlers: they would stop one kernel of several and go on."""
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError, RuntimeError):
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)


def _report(notebook: NotebookNode, index: int, error: Exception, timeout_s: float) -> str:
    cell = notebook.cells[index]
    head = f"cell {index + 1} ({cell.id})"
    code = "\n".join(f"  {n:>3} | {line}" for n, line in enumerate(cell.source.splitlines(), 1))
    if isinstance(error, CellTimeoutError):
        return f"{head} did not finish within {timeout_s:g} s.\n{code}"
    if isinstance(error, DeadKernelError):
        return f"{head}: the kernel died.\n{code}"
    raised = [output for output in cell.outputs if output.output_type == "error"]
    trace = _ANSI.sub("", "\n".join(raised[-1].traceback) if raised else str(error))
    what = f"{raised[-1].ename}: {raised[-1].evalue}" if raised else "it raised"
    trace = "\n".join(f"  {line}" for line in trace.splitlines())
    return f"{head}: {what}\n{code}\n{trace}"


def _clean(notebook: NotebookNode) -> None:
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                output["traceback"] = _own_frames(output.traceback)
            data = output.get("data", {})
            if len(data) > 1:  # without the widget's state its view shows nothing
                data.pop(WIDGET_VIEW, None)


def _own_frames(traceback: list[str]) -> list[str]:
    """The traceback without frames in files: they carry this machine's paths."""
    return [part for part in traceback if not _ANSI.sub("", part).lstrip().startswith("File ")]


def _require_errors(notebook: NotebookNode) -> None:
    for position, cell in enumerate(notebook.cells, start=1):
        if MAY_RAISE not in cell.metadata.get("tags", []):
            continue
        if not any(output.output_type == "error" for output in cell.outputs):
            raise ExecutionError(
                f"cell {position} ({cell.id}) is tagged {MAY_RAISE} and did not raise. "
                "Remove the tag, or make it fail as the text says."
            )
