"""What the container sees of its memory."""

import subprocess
import sys
from pathlib import Path

from byoc_vision.contract.cgroup import kernel_kills
from serve.memory import MB, own_memory, visible_memory


def test_memory_is_the_limit_or_the_machines(tmp_path: Path) -> None:
    machine = visible_memory(tmp_path)
    assert machine > 100 * MB
    (tmp_path / "memory.max").write_text("max\n")
    assert visible_memory(tmp_path) == machine
    (tmp_path / "memory.max").write_text(f"{50 * MB}\n")
    assert visible_memory(tmp_path) == 50 * MB


def test_what_the_kernel_killed_is_counted(tmp_path: Path) -> None:
    assert kernel_kills(tmp_path) == 0
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert kernel_kills(tmp_path) == 1
    (tmp_path / "memory.events").write_text("oom 5\noom_kill 2\n")
    assert kernel_kills(tmp_path) == 2


def test_own_memory_is_what_a_process_holds_itself() -> None:
    # A process of its own: what this one allocates may lie in memory that it had before and never gave back.
    program = "import sys; print(flush=True); input(); held = b'x' * int(sys.argv[1]); print(flush=True); input()"
    command = [sys.executable, "-c", program, str(50 * MB)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        before = own_memory(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        assert 49 * MB < own_memory(process.pid) - before < 55 * MB
        process.kill()
    assert own_memory(process.pid) == 0
