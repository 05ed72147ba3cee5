"""What the model writes for its teacher: hints, reflections, experience; kept in the run folder, merged over steps."""
