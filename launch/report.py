"""`byoc report`, spelled `python -m launch.report`."""

from byoc_vision.cli import run

if __name__ == "__main__":
    run("report", "launch.report")
