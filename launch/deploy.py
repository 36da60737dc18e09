"""`byoc deploy`, spelled `python -m launch.deploy`."""

from byoc_vision.cli import run

if __name__ == "__main__":
    run("deploy", "launch.deploy")
