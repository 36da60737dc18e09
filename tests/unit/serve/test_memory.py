"""What the container sees of its memory."""

from pathlib import Path

from serve.memory import MB, kernel_kills, own_memory, visible_memory


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


def test_own_memory_is_what_is_held_here() -> None:
    before = own_memory()
    held = bytearray(b"x") * (50 * MB)
    assert 40 * MB < own_memory() - before < 60 * MB
    del held
