"""`byoc jobs`, spelled `python -m launch.jobs`."""

from byoc_vision.cli import run

if __name__ == "__main__":
    run("jobs", "launch.jobs")
