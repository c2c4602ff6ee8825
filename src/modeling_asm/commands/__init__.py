"""The console scripts: arguments, messages and exit status. What they do is in the other rooms."""
