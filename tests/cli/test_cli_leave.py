from __future__ import annotations

import os
import subprocess
import sys

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


def test_a_process_that_only_imports_it_ends_as_ever() -> None:
    code = "import sys, lesionlab.cli.leave\nsys.exit(7)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
