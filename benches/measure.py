"""What benches/compare and benches/compare-gate have in common: running processes, and lines of their tables."""
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORES = 2
HEAD = "| # | work | goal | stretch | measured | met |\n|---|---|---|---|---|---|"


def progress(text):
    print(text, file=sys.stderr, flush=True)


def run(command, output=os.devnull):
    """Runs it, its stdout into a file; gives seconds from start to exit, and peak memory in bytes."""
    command = [str(part) for part in command]
    actions = [(os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)]
    start = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{shlex.join(command)}: exit code {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def cargo(*arguments, env=None):
    done = subprocess.run(["cargo", *arguments], cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stderr}cargo {shlex.join(arguments)}: exit code {done.returncode}")
    return done.stdout


def release_folder():
    """Where cargo puts what it builds."""
    return Path(json.loads(cargo("metadata", "--format-version", "1", "--no-deps", "--locked"))["target_directory"]) / "release"


def median_ratio(ones, others):
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def row(number, work, goal, stretch, measured, unit, places=2):
    """A line of the table; `goal` and `stretch` start with ≤ or ≥ in `unit`s."""
    if measured is None:
        return f"| {number} | {work} | {goal} {unit} | {stretch} {unit} | not measured | |"
    holds = (lambda bar: measured <= bar) if goal[0] == "≤" else (lambda bar: measured >= bar)
    bars = [float(bar.split()[1]) for bar in (goal, stretch)]
    verdict = "stretch" if holds(bars[1]) else "yes" if holds(bars[0]) else "**MISSED**"
    return f"| {number} | {work} | {goal} {unit} | {stretch} {unit} | {measured:,.{places}f} {unit} | {verdict} |"


def machine(cores):
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE) if sys.platform == "linux" else []
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores, {cores} used; {platform.system()} {platform.release()}"


def use_two_cores():
    os.environ["RAYON_NUM_THREADS"] = str(CORES)
    if not hasattr(os, "sched_setaffinity"):
        return CORES
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    return len(cores)
