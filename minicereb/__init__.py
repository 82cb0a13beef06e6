"""minicereb: biological learning and its adversarial robustness, from scratch, with every gradient in sight."""

__version__ = "0.1.0"
