"""Mistakes in the training loop, the optimizer, pre-training and fine-tuning."""

from planting import mistakes

MISTAKES = [
    *mistakes(
        "minirembert/training/optimizer.py",
        (
            "AdamW._update",
            "decay taken off without the learning rate",
            "update += (learning_rate * decay) * p",
            "update += decay * p",
            "test_training.py",
        ),
    ),
]

# Modules of this room that nobody can plant a mistake in which a test should notice, and why.
NO_LOGIC: dict[str, str] = {}
