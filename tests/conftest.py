"""The shapes in the signatures of the shared code are checked whenever a test calls it."""

from jaxtyping import install_import_hook

SHAPED = [f"llmbook.{name}" for name in ("attention", "gpt", "measure", "positions", "train")]
install_import_hook(SHAPED, "shapes.check_types").__enter__()
