"""The other queues, in an environment of their own: `.venv-bench`, with what the project needs besides.

Everything is measured in that one environment, so that all have the same Python, the same driver and the same loop.
Oban asks for Python 3.12: the newest Python on this machine that the project supports makes the environment, and where
none is new enough, Oban's rows say that it is not there.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-bench"
PINS = ("requirements/base.txt", "bench/requirements.txt")
VERSIONS = ("3.14", "3.13", "3.12")


def run_with_peers(uv_beside: Path, arguments: Sequence[str]) -> None:
    """Install what is pinned and measure there instead. Returns only where that is where we are already."""
    if Path(sys.prefix) == ENVIRONMENT:
        return
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([_newest_python(), "-m", "venv", str(ENVIRONMENT)], check=True)
    uv = shutil.which("uv", path=os.pathsep.join([str(uv_beside.parent), os.environ.get("PATH", "")]))
    if uv is None:
        raise SystemExit("uv is needed to install the other queues; `make bench` brings it")
    pins = [part for name in PINS for part in ("-r", str(ROOT / name))]
    done = subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", str(python), "--require-hashes", *pins], check=False
    )
    if done.returncode:
        print("The other queues could not be installed; those that are missing are said to be.", file=sys.stderr)
    os.execv(python, [str(python), "-m", "bench", "ledger", *arguments])


def _newest_python() -> str:
    """A Python that can make environments: the newest that is found, else the one that runs this."""
    given = os.environ.get("BENCH_PYTHON")
    candidates = [given] if given else list(_candidates())
    for candidate in candidates:
        check = subprocess.run([candidate, "-c", "import venv, ensurepip"], capture_output=True, check=False)
        if check.returncode == 0:
            return candidate
    return sys.executable


def _candidates() -> Iterator[str]:
    for version in VERSIONS:
        found = shutil.which(f"python{version}")
        if found:
            yield found
        # pyenv's shims fail for versions that are installed and not chosen.
        for path in sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*")):
            yield str(path / "bin" / "python")
