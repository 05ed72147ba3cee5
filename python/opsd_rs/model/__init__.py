"""Model folders by name or path, and the small real model that is built once into the user's cache."""

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.model.cache import facts, fetch, local_folder, resolve
    from opsd_rs.model.hashes import weights_id
    from opsd_rs.model.memory import GIB, Memory, Shape, coming_bytes, shortage, token_budget, training_memory
    from opsd_rs.model.same_tokenizer import check_same_tokenizer
    from opsd_rs.model.size import num_parameters
    from opsd_rs.model.weights import check_model_files, safetensors_names

__all__ = [
    "GIB", "Memory", "Shape", "check_model_files", "check_same_tokenizer", "coming_bytes", "facts", "fetch",
    "local_folder", "num_parameters", "resolve", "safetensors_names", "shortage", "token_budget", "training_memory",
    "weights_id"]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "cache": "facts fetch local_folder resolve", "hashes": "weights_id",
    "same_tokenizer": "check_same_tokenizer",
    "memory": "GIB Memory Shape coming_bytes shortage token_budget training_memory", "size": "num_parameters",
    "weights": "check_model_files safetensors_names"})  # fmt: skip
