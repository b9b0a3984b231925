"""The main job from end to end: servers, workers of all queues, a data set, and a summary."""
