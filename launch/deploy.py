"""`byoc deploy`, spelled `python -m launch.deploy`."""

from byoc_vision.cli.deploy import main, options

__all__ = ["main", "options"]

if __name__ == "__main__":
    from byoc_vision.cli.launcher import guarded

    guarded("launch.deploy", main)
