"""Text to 3D by score distillation, declared in YAML and reproducible with DVC."""
