"""`python -m stillroom`, for launchers: `torchrun --nproc-per-node 2 -m stillroom distill recipe.yaml`."""

from stillroom.cli.main import run

if __name__ == "__main__":
    run()
