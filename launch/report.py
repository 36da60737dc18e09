"""`byoc report`, spelled `python -m launch.report`."""

from byoc_vision.cli.report import main, options

__all__ = ["main", "options"]

if __name__ == "__main__":
    from byoc_vision.cli.launcher import guarded

    guarded("launch.report", main)
