"""Models of the encoder backend for tests: tests/data/bert-tiny and what settings make of it."""
import shutil

from harness import ROOT

TINY = ROOT / "tests" / "data" / "bert-tiny"


def variant(folder, **settings):
    """bert-tiny with settings in model-config.yaml."""
    shutil.copytree(TINY, folder)
    (folder / "model-config.yaml").write_text("".join(f"{k}: {v}\n" for k, v in settings.items()))
    return folder
