"""The shapes in the signatures of the shared code are checked whenever a test calls it."""

from jaxtyping import install_import_hook

SHAPED = ["llmbook.attention", "llmbook.gpt", "llmbook.measure", "llmbook.positions"]
install_import_hook(SHAPED, "shapes.check_types").__enter__()
