"""Fetches models from a Hugging Face hub. Needs the package huggingface_hub."""

PATTERNS = ["*.json", "*.pt", "*.bin", "*.txt", "*.model", "*.pth", "*.safetensors", "original/*"]


def snapshot_download(**options):
    """The hub's own, imported when it is called."""
    from huggingface_hub import snapshot_download as download

    return download(**options)


def download_model(model_id="meta-llama/Meta-Llama-3.1-8B-Instruct", revision="main", model_path=".cache",
                   use_auth_token=True):
    """Fetches a model's files, kept below `model_path`, and returns their folder. `use_auth_token`: a token, or whether
    the stored one is sent."""
    return snapshot_download(repo_id=model_id, revision=revision, allow_patterns=PATTERNS, cache_dir=model_path,
                             token=use_auth_token)
