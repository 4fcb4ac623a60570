from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, threading, time
from lesionlab.cli.leave import run_and_leave
import atexit

class Torn:
    def __del__(self):
        print("torn down", file=sys.stderr)

torn = Torn()

def late():
    time.sleep(0.2)
    print("thread done")

atexit.register(print, "handler ran")

def program():
    atexit.register(print, "late handler ran")
    print("x" * 200_000)
    threading.Thread(target=late).start()
    {end}

run_and_leave(program)
"""


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        ("pass", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit(None)", 0, ""),
        ("sys.exit('words')", 1, "words\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_threads_handlers_and_output_are_finished_and_nothing_is_torn_down(
    end: str, code: int, told: str
) -> None:
    command = [sys.executable, "-c", PROGRAM.replace("{end}", end)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == code
    assert found.stdout.splitlines() == ["x" * 200_000, "thread done", "late handler ran", "handler ran"]
    assert found.stderr.endswith(told)
    assert "torn down" not in found.stderr


@pytest.mark.skipif(os.name == "nt", reason="pipes")
def test_output_that_nobody_reads_is_told_by_the_exit_code() -> None:
    code = "from lesionlab.cli.leave import run_and_leave; run_and_leave(lambda: print('x'))"
    reader, writer = os.pipe()
    os.close(reader)
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, env=buffered)
    os.close(writer)
    assert found.returncode == 120


@pytest.mark.skipif(os.name == "nt", reason="a shell's redirection")
def test_output_that_was_closed_before_the_process_began_is_no_error() -> None:
    code = "from lesionlab.cli.leave import run_and_leave; run_and_leave(lambda: None)"
    command = ["sh", "-c", f'"{sys.executable}" -c "{code}" >&-']
    found = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_a_terminal_without_a_letter_gets_a_question_mark() -> None:
    code = "from lesionlab import cli; cli.run_and_leave = lambda app: print('1 \u2192 2'); cli.main()"
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert (found.returncode, found.stdout.split()) == (0, [b"1", b"?", b"2"])


def test_the_end_does_not_wait_for_modules_that_are_loaded_ahead(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("import time\ntime.sleep(600)\n")
    code = (
        "from lesionlab.cli.leave import run_and_leave; from lesionlab.core.lazy import imports_from\n"
        "run_and_leave(lambda: imports_from(lambda message, share: None, 0.5, ['endless'])('', 1.0))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    found = subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=False)
    assert found.returncode == 0


def test_a_process_that_only_imports_it_ends_as_ever() -> None:
    code = "import sys, lesionlab.cli.leave\nsys.exit(7)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
