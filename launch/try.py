"""`byoc try`, spelled `python -m launch.try`."""

from byoc_vision.cli import run

if __name__ == "__main__":
    run("try", "launch.try")
