"""`byoc watch`, spelled `python -m launch.watch`."""

from byoc_vision.cli import run

if __name__ == "__main__":
    run("watch", "launch.watch")
