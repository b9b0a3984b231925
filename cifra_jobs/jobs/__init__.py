"""Vocabulary: what a task, its options, its state and one attempt at it are."""
