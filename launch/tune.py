"""`byoc tune`, spelled `python -m launch.tune`."""

from byoc_vision.cli import run

if __name__ == "__main__":
    run("tune", "launch.tune")
