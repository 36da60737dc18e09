"""`byoc train`, spelled `python -m launch.train`."""

from byoc_vision.cli.train import main, options

__all__ = ["main", "options"]

if __name__ == "__main__":
    from byoc_vision.cli.launcher import guarded

    guarded("launch.train", main)
