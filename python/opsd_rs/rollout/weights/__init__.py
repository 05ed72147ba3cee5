"""Weights on their way from the trainer to a sampler, and the proof that they arrived."""
