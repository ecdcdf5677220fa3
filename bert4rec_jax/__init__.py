"""BERT4Rec in JAX and Flax."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bert4rec_jax.recommender import Recommender

__all__ = ["Recommender"]
__version__ = "0.1.0"


def __getattr__(name: str):
    # On demand: main.py sets the allocator up before jax is imported.
    if name == "Recommender":
        from bert4rec_jax.recommender import Recommender

        return Recommender
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
