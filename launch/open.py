"""`byoc open`, spelled `python -m launch.open`."""

from byoc_vision.cli import run

if __name__ == "__main__":
    run("open", "launch.open")
