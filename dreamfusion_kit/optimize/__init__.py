"""The optimisation loop: penalties, optimiser, checkpoints, watchdog, monitors."""
