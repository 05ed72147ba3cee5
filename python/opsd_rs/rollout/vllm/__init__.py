"""vLLM in a process of its own: client, server, options, and what its worker does with new weights."""
