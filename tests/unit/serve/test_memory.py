"""What the container sees of its memory."""

from pathlib import Path

from serve.memory import MB, kernel_kills, own_memory, used_memory, visible_memory


def test_memory_is_the_limit_or_the_machines(tmp_path: Path) -> None:
    machine = visible_memory(tmp_path)
    assert machine > 100 * MB
    (tmp_path / "memory.max").write_text("max\n")
    assert visible_memory(tmp_path) == machine
    (tmp_path / "memory.max").write_text(f"{50 * MB}\n")
    assert visible_memory(tmp_path) == 50 * MB


def test_memory_that_files_only_borrow_is_not_used(tmp_path: Path) -> None:
    assert (used_memory(tmp_path), kernel_kills(tmp_path)) == (0, 0)
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("anon 600\ninactive_file 250\nactive_file 50\n")
    (tmp_path / "memory.events").write_text("oom 5\noom_kill 2\n")
    assert (used_memory(tmp_path), kernel_kills(tmp_path)) == (700, 2)


def test_memory_in_use_under_cgroup_1(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("1000\n")
    (tmp_path / "memory" / "memory.stat").write_text("rss 600\ninactive_file 300\nactive_file 0\n")
    (tmp_path / "memory" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert (used_memory(tmp_path), kernel_kills(tmp_path)) == (700, 1)


def test_own_memory_is_what_is_held_here() -> None:
    before = own_memory()
    held = bytearray(b"x") * (50 * MB)
    assert 40 * MB < own_memory() - before < 60 * MB
    del held
