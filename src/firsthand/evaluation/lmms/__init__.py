"""Examples as a task for lmms-eval."""
