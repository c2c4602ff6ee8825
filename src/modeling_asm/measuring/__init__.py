"""What a model costs, and on what machine: multiply-adds, time in turns, memory, environment."""
