"""The shapes in the signatures of the shared code are checked whenever a test calls it."""

from jaxtyping import install_import_hook

NAMES = ("attention", "data.stories", "data.vocabulary", "gpt", "measure", "positions", "train")
SHAPED = [f"llmbook.{name}" for name in NAMES]
install_import_hook(SHAPED, "shapes.check_types").__enter__()
