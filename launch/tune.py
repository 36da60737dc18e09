"""`byoc tune`, spelled `python -m launch.tune`."""

from byoc_vision.cli.tune import main, options

__all__ = ["main", "options"]

if __name__ == "__main__":
    from byoc_vision.cli.launcher import guarded

    guarded("launch.tune", main)
