"""What transformers carries for training models."""

from __future__ import annotations

from .model import ModuleSet

TRANSFORMERS_TRAINING = ModuleSet(
    why="it trains models",
    modules=(
        "transformers.trainer",
        "transformers.trainer_callback",
        "transformers.trainer_jit_checkpoint",
        "transformers.trainer_optimizer",
        "transformers.trainer_pt_utils",
        "transformers.trainer_seq2seq",
        "transformers.trainer_utils",
        "transformers.training_args",
        "transformers.training_args_seq2seq",
        "transformers.hyperparameter_search",
        "transformers.optimization",
        "transformers.data.metrics",
        "transformers.data.processors",
        "transformers.data.datasets",
        "transformers.cli",
        "transformers.commands",
        "transformers.distributed",
        "transformers.debug_utils",
        "transformers.model_debugging_utils",
    ),
    signs=("transformers.Trainer", "transformers.TrainingArguments"),
)
